"""The installed C library, found by CMake: the examples are built and run by one who only has the package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tapeloop as tl

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BUILT = Path(os.environ.get("TAPELOOP_BIN_DIR", TARGET / "debug"))
CMAKE = Path(sys.executable).with_name("cmake")


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def test_cmake_finds_the_installed_library(tmp_path: Path) -> None:
    if not CMAKE.exists() or shutil.which("cc") is None or shutil.which("c++") is None:
        pytest.skip("cmake (of requirements-test.txt), cc or c++ is not installed")
    # What it tests is never absent where it can be tested.
    assert (BUILT / "libtapeloop.so").exists(), f"{BUILT}/libtapeloop.so is not built: cargo build --workspace --lib"
    run(ROOT / "capi/install", BUILT, tmp_path / "first")
    # A package may be moved as a whole.
    prefix = (tmp_path / "first").rename(tmp_path / "moved")
    build = tmp_path / "build"
    run(CMAKE, "-S", ROOT / "examples/c", "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}")
    run(CMAKE, "--build", build)

    assert "embedded tape in" in run(build / "robot_c", "tape", tmp_path / "c")
    recording = tl.open(tmp_path / "c")
    assert [message.value["ax"] for message in recording.messages("/imu")] == [*[i + 0.5 for i in range(20)], -9]
    assert [len(message.data) for message in recording.messages("/camera/front")] == [5_000_000, 5_000_000]
    assert recording.losses == []
    run(build / "robot_cpp", "tape", tmp_path / "cpp")
    assert len(list(tl.open(tmp_path / "cpp").messages("/text"))) == 1000
