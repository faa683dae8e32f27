"""The same calls, with an agent that records."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tapeloop as tl

from .conftest import QUICK
from .test_recorder import python

FOLDER = os.environ.get("TAPELOOP_BIN_DIR")
PROGRAM = shutil.which("tapeloop", path=FOLDER)
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no `tapeloop` in $TAPELOOP_BIN_DIR or the path")


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Starts an agent and returns when it answers."""
    (folder / "quick.toml").write_text(QUICK)
    command = [
        str(PROGRAM),
        "record",
        "quick.toml",
        "--data",
        str(folder / "tape"),
        "--socket",
        str(folder / "agent.sock"),
    ]
    agent = subprocess.Popen(
        [*command, "--http", "off", "--foxglove", "off", "--device", "rover-7"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)},
    )
    deadline = time.monotonic() + 60
    while True:
        try:
            tl.recorder(socket=folder / "agent.sock").close()
            return agent
        except tl.Error:
            assert agent.poll() is None and time.monotonic() < deadline, "the agent does not answer"
            time.sleep(0.02)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    agent = start(tmp_path)
    yield agent
    agent.send_signal(signal.SIGTERM)
    agent.wait(30)


def test_it_records_what_programs_log(agent: subprocess.Popen[bytes], tmp_path: Path) -> None:
    with tl.recorder("rover-7", socket=tmp_path / "agent.sock") as rec:
        assert rec.description == f"agent at {tmp_path / 'agent.sock'}"
        assert rec.path == tmp_path / "tape"
        frame = np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3)
        large = np.random.default_rng(1).integers(0, 255, (480, 640, 3), np.uint8)
        for index in range(1000):
            rec.log("/imu", {"index": index})
        rec.log("/camera", frame)
        rec.log("/camera", large)
        rec.log("/typed", b"abc", schema=tl.Schema("T", "protobuf", b"x"))
        rec.flush()
        clip = rec.save(before="1 h", why="test", labels={"a": "b"})
        assert [message.value["index"] for message in clip["/imu"]] == list(range(1000))
        first, second = clip["/camera"]
        np.testing.assert_array_equal(first.value, frame)
        np.testing.assert_array_equal(second.value, large)
        assert next(iter(clip["/typed"])).schema == tl.Schema("T", "protobuf", b"x")
        assert clip.wait(30).state == "complete" and clip.why == "test"
        assert rec.recording(clip.id).labels == {"a": "b"}
        assert rec.status()["device"] == "rover-7"
        with rec.keep("run", before="1 h") as kept:
            rec.log("/imu", {"index": 1000})
        assert len(kept["/imu"]) == 1001


def test_it_is_found_where_it_listens(agent: subprocess.Popen[bytes], tmp_path: Path) -> None:
    code = """
import tapeloop as tl
with tl.recorder("rover-7") as rec:
    print(rec.description)
    rec.log("/t", {"x": 1})
    rec.flush()
"""
    ran = python(code, tmp_path, TAPELOOP_SOCKET=str(tmp_path / "agent.sock"))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"agent at {tmp_path / 'agent.sock'}\n", "")
    assert len(tl.open(tmp_path / "tape")["/t"]) == 1


def test_a_window_goes_on_without_the_program(agent: subprocess.Popen[bytes], tmp_path: Path) -> None:
    with tl.recorder(socket=tmp_path / "agent.sock") as rec:
        rec.log("/t", {"x": 1})
        clip = rec.save(before=10, after=1)
        begun = time.monotonic()
    assert time.monotonic() - begun < 1
    with tl.recorder(socket=tmp_path / "agent.sock") as rec:
        rec.log("/t", {"x": 2})
        assert len(rec.recording(clip.id).wait(30)["/t"]) == 2


def test_an_agent_that_goes_away_is_told_and_found_again(tmp_path: Path) -> None:
    agent = start(tmp_path)
    rec = tl.recorder(socket=tmp_path / "agent.sock")
    rec.log("/t", {"x": 1})
    rec.flush()
    agent.kill()
    agent.wait(30)

    def fails() -> bool:
        try:
            rec.log("/t", {"x": 2})
            rec.flush()
        except tl.UnavailableError:
            return True
        return False

    deadline = time.monotonic() + 60
    while not fails():
        assert time.monotonic() < deadline
    again = start(tmp_path)
    try:
        while fails():
            assert time.monotonic() < deadline
        assert len(rec.save(before="1 h")["/t"]) >= 2
        rec.close()
    finally:
        again.send_signal(signal.SIGTERM)
        again.wait(30)


def test_an_agent_that_takes_nothing_does_not_stop_other_threads(
    agent: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    rec = tl.recorder(socket=tmp_path / "agent.sock")
    rec.log("/t", b"x")
    os.kill(agent.pid, signal.SIGSTOP)
    payload = os.urandom(8 << 10)
    stopped = threading.Event()

    def log() -> None:
        try:
            while not stopped.is_set():
                rec.log("/t", payload)
        except tl.UnavailableError:
            pass

    threads = [threading.Thread(target=log) for _ in range(2)]
    for thread in threads:
        thread.start()
    longest = 0.0
    begun = last = time.monotonic()
    while last - begun < 2:
        time.sleep(0.001)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    stopped.set()
    os.kill(agent.pid, signal.SIGCONT)
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    rec.close()
    # A log that held the interpreter's lock while it waited would have stopped this thread for seconds.
    assert longest < 0.5
