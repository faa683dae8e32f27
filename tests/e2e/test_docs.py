"""What the README and the guide show is run here, so that it stays true; their Python is run by the package's tests."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PROGRAMS = Path(os.environ.get("TAPELOOP_BIN_DIR", TARGET / "debug"))
DATA = Path(os.environ.get("TAPELOOP_TEST_DATA", ROOT.parent / "shared" / "data"))
PATIENCE_SECONDS = 20


def commands(path: str, program: str) -> list[list[str]]:
    """Returns the commands of a page that call a program, without their comments."""
    blocks = re.findall(r"^```console\n(.*?)^```$", (ROOT / path).read_text(), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(f"{program} ")]


class Agent:
    """A running agent with a folder, a tape and a socket of its own."""

    def __init__(self, folder: Path, config: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "TAPELOOP_SOCKET": str(folder / "agent.sock"),
            "TAPELOOP_DATA": str(folder / "tape"),
            "TAPELOOP_HTTP": "off",
            "TAPELOOP_FOXGLOVE": "off",
        }
        self.process = subprocess.Popen(
            [PROGRAMS / "tapeloop", "record", config],
            cwd=folder,
            env=self.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.run("tapeloop", "status", "--json").returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise AssertionError(f"no agent with {config}: {self.process.communicate()[1]}")

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a program that finds this agent."""
        command = [str(PROGRAMS / program), *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )

    def stop(self) -> int:
        """Stops it as systemd does and returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            self.process.kill()
        return self.process.returncode


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder whose path is short enough for a socket."""
    return tmp_path_factory.mktemp("d")


@pytest.fixture
def agent(folder: Path) -> Iterator[Agent]:
    """Runs an agent with the shortest example, into which the rover has driven a little."""
    agent = Agent(folder, ROOT / "docs/guide/examples/minimal.toml")
    try:
        rover = agent.run(
            "rover", "--speed", "max", "--duration", "5s", "--socket", agent.environment["TAPELOOP_SOCKET"]
        )
        assert rover.returncode == 0, rover.stderr
        yield agent
        assert agent.stop() == 0
    finally:
        agent.process.kill()


def bags(folder: Path) -> list[str]:
    """Copies a real ROS 1 bag into a folder, and returns its name, as a shell would where `*.bag` stands."""
    bag = DATA / "ros1/husky-gps/test1.bag"
    if not bag.is_file():
        return []
    shutil.copy(bag, folder)
    return [bag.name]


def test_the_commands_of_the_readme_run(agent: Agent) -> None:
    """Runs them in their order; those that record are for an agent of their own, in the next test."""
    places = {"RECORDING": ["run-12"], "TAPE": [agent.environment["TAPELOOP_DATA"]], "*.bag": bags(agent.folder)}
    broken = agent.folder / "broken.mcap"
    places["BROKEN"] = [broken.name]
    shutil.copy(ROOT / "docs/guide/examples/rules.toml", agent.folder)
    node = agent.folder / "my_node"
    node.write_text("#!/bin/sh\necho ready\n")
    node.chmod(0o755)
    ran = 0
    for _, *arguments in commands("README.md", "tapeloop"):
        if arguments[0] == "record":
            continue
        if "BROKEN" in arguments:
            # Without its summary, as after a power cut.
            broken.write_bytes((agent.folder / "imu.mcap").read_bytes()[:-1000])
        if "*.bag" in arguments and not places["*.bag"]:
            continue
        done = agent.run("tapeloop", *[part for argument in arguments for part in places.get(argument, [argument])])
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        ran += 1
    assert ran >= 10


def test_the_file_that_the_readme_plays_is_recorded(folder: Path) -> None:
    environment = {
        **os.environ,
        "TAPELOOP_SOCKET": str(folder / "agent.sock"),
        "TAPELOOP_HTTP": "off",
        "TAPELOOP_FOXGLOVE": "off",
    }

    def run(program: str, *arguments: str) -> str:
        command = [str(PROGRAMS / program), *arguments]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    run("rover", "--speed", "max", "--duration", "5s", "--data", "drive")
    run("tapeloop", "export", "drive", "-o", "drive.mcap")
    (playing,) = [arguments for _, *arguments in commands("README.md", "tapeloop") if "--from" in arguments]
    run("tapeloop", *playing, "--data", "tape")
    exported, recorded = (
        [line for line in run("tapeloop", "info", name).splitlines() if line.startswith(("/imu", "/camera", "/tf"))]
        for name in ("drive.mcap", "tape")
    )
    assert exported == recorded
    assert len(exported) == 4


def test_what_the_guide_shows_live_runs(folder: Path) -> None:
    agent = Agent(folder, ROOT / "docs/guide/examples/expectations.toml")
    rover = [PROGRAMS / "rover", "--duration", "60s", "--socket", agent.environment["TAPELOOP_SOCKET"]]
    driving = subprocess.Popen(rover, stdout=subprocess.DEVNULL)
    try:
        shown = [arguments for _, *arguments in commands("docs/guide/live.md", "tapeloop") if arguments[0] != "record"]
        assert len(shown) >= 6
        for arguments in shown:
            done = agent.run("tapeloop", *arguments)
            assert done.returncode == 0, f"{arguments}: {done.stderr}"
            assert done.stdout, arguments
        assert len(json.loads(agent.run("tapeloop", "status", "--json").stdout)["expectations"]) == 2
    finally:
        driving.kill()
        driving.wait()
        agent.process.kill()
        agent.process.communicate()


def test_the_targets_that_the_pages_name_exist() -> None:
    targets = {command[1] for page in ("README.md", "CONTRIBUTING.md") for command in commands(page, "make")}
    assert {"demo", "test", "check", "wheel", "release"} <= targets
    for target in targets:
        done = subprocess.run(
            ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr


def test_what_the_pages_link_to_exists() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page}: {link}"


@pytest.mark.parametrize("config", sorted((ROOT / "docs/guide/examples").glob("*.toml")), ids=lambda path: path.stem)
def test_the_example_configurations_are_good(config: Path, folder: Path) -> None:
    shutil.copy(config, folder / "tapeloop.toml")
    agent = Agent(folder, folder / "tapeloop.toml")
    assert agent.stop() == 0
