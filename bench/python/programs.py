"""The programs that are measured: release builds of this repository, and the peers, installed where they miss."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PYTHON_PEERS = ["foxglove-sdk==0.30.3", "reduct-py==1.21.0", "mcap==1.6.0", "numpy", "rosbags"]
REDUCTSTORE_VERSION = "1.21.5"


@dataclass(frozen=True)
class Programs:
    """Where the programs are."""

    bench: Path
    agent: Path
    python: Path
    reductstore: Path


def prepare(root: Path, build: bool) -> Programs:
    """Builds what is ours, installs what is not, and returns where all of it is."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or root / "target").resolve()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tapeloop-bench"
    cache.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target)}
    if build:
        packages = ["--package", "tapeloop-bench", "--package", "tapeloop-robot"]
        programs = ["--bin", "tape-bench", "--bin", "tapeloop-agent"]
        run(["cargo", "build", "--release", *packages, *programs], root, environment)
    return Programs(
        bench=target / "release" / "tape-bench",
        agent=target / "release" / "tapeloop-agent",
        python=python(root, cache, environment),
        reductstore=reductstore(cache),
    )


def python(root: Path, cache: Path, environment: dict[str, str]) -> Path:
    """Returns a Python that has the peers and the release wheel of this repository."""
    interpreter = cache / "venv" / "bin" / "python"
    if not interpreter.exists():
        run([sys.executable, "-m", "venv", str(cache / "venv")])
    pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, *PYTHON_PEERS])
    wheels = sorted((root / "dist").glob("tapeloop-*.whl"), key=lambda path: path.stat().st_mtime)
    if not wheels:
        run([*pip, "maturin>=1.16,<2"])
        maturin = str(interpreter.with_name("maturin"))
        run([maturin, "build", "--release", "--out", str(root / "dist")], root / "python" / "tapeloop", environment)
        wheels = list((root / "dist").glob("tapeloop-*.whl"))
    run([*pip, "--no-deps", "--force-reinstall", str(wheels[-1])])
    return interpreter


def reductstore(cache: Path) -> Path:
    """Returns ReductStore's server, which takes minutes to build the first time."""
    program = cache / "bin" / "reductstore"
    if not program.exists():
        # Its web console would be downloaded by the build; it has no part in what is measured.
        install = ["cargo", "install", "reductstore", "--version", REDUCTSTORE_VERSION, "--root", str(cache)]
        run([*install, "--no-default-features", "--features", "fs-backend"])
    return program


def run(command: list[str], folder: Path | None = None, environment: dict[str, str] | None = None) -> None:
    """Runs a command and lets its failure end this program."""
    print(f"+ {' '.join(command)}", file=sys.stderr, flush=True)
    subprocess.run(command, check=True, stdout=sys.stderr, cwd=folder, env=environment)
