"""Dora's own programs: a dataflow that our node records, and a recording of `dora record` that Tapeloop reads."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pytest
import tapeloop as tl

DORA = Path(sys.executable).with_name("dora")
NODE = Path(sys.executable).with_name("tapeloop-dora")
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", Path(__file__).resolve().parents[2] / "target"))
TAPELOOP = Path(os.environ.get("TAPELOOP_BIN_DIR", TARGET / "debug")) / "tapeloop"
PATIENCE_SECONDS = 60
COUNT = 5

# It sends until it is stopped, so that whoever records may come late; the first messages are all that is compared.
SOURCE = """
import pyarrow as pa
from dora import Node

node = Node()
i = 0
for event in node:
    if event["type"] == "STOP":
        break
    if event["type"] == "INPUT" and i < LIMIT:
        told = {"frame": i, "name": "n", "gain": 0.5, "ok": True, "list": [1, 2]}
        node.send_output("numbers", pa.array([i, 2**40 + i], type=pa.int64()), told)
        node.send_output("struct", pa.array([{"x": i * 0.5, "label": f"l{i}"}]))
        i += 1
"""


def dataflow(folder: Path, *, limit: int, recorder: list[str] | None = None) -> Path:
    """Writes a dataflow of a source and, perhaps, a recorder with these arguments."""
    (folder / "source.py").write_text(SOURCE.replace("LIMIT", str(limit)))
    source = {
        "id": "source",
        "path": "source.py",
        "inputs": {"tick": "dora/timer/millis/20"},
        "outputs": ["numbers", "struct"],
    }
    nodes: list[dict[str, Any]] = [source]
    if recorder is not None:
        inputs = {name: {"source": f"source/{name}", "queue_size": 100} for name in ("numbers", "struct")}
        nodes.append({"id": "recorder", "path": str(NODE), "args": " ".join(recorder), "inputs": inputs})
    path = folder / "flow.yml"
    # JSON is YAML.
    path.write_text(json.dumps({"nodes": nodes, "debug": {"enable_debug_inspection": True}}))
    return path


def arrays(recording: tl.Recording, topic: str) -> list[Any]:
    """Returns the values of a topic's Arrow streams."""
    values = []
    for message in recording.messages(topic):
        assert message.encoding == "arrow"
        (column,) = pa.ipc.open_stream(message.data).read_all().columns
        values.append(column.to_pylist())
    return values


def assert_recorded(recording: tl.Recording) -> None:
    numbers = arrays(recording, "/source/numbers")
    indices = [i for i, _ in numbers]
    # Dora itself may have dropped some on their way, but nothing changes their order.
    assert len(numbers) >= COUNT and indices == sorted(set(indices))
    assert numbers == [[i, 2**40 + i] for i in indices]
    structs = arrays(recording, "/source/struct")
    places = [int(row["x"] * 2) for (row,) in structs]
    assert len(places) >= COUNT and places == sorted(set(places))
    assert structs == [[{"x": i * 0.5, "label": f"l{i}"}] for i in places]
    told = [message.value for message in recording.messages("/source/numbers/parameters")]
    assert told == [{"frame": i, "gain": 0.5, "list": [1, 2], "name": "n", "ok": True} for i, _ in numbers]
    for message in recording.messages("/source/*"):
        assert 0 <= message.log_time - message.publish_time < PATIENCE_SECONDS * 1_000_000_000


@pytest.fixture
def environment() -> dict[str, str]:
    """Returns an environment in which dora's programs find each other, and nobody else's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = f"{DORA.parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "DORA_COORDINATOR_PORT": str(port)}


def test_a_node_records_its_inputs(tmp_path: Path, environment: dict[str, str]) -> None:
    flow = dataflow(tmp_path, limit=10**6, recorder=["--device", "rover-7", "--data", str(tmp_path / "tape")])
    with logged(tmp_path, environment, "run", flow) as (running, output):
        wait_until(running, lambda: is_on_the_tape(tmp_path / "tape"))
    assert "embedded tape in" in output()
    recording = tl.open(tmp_path / "tape")
    assert_recorded(recording)
    assert recording.losses == []


@contextmanager
def logged(
    folder: Path, environment: dict[str, str], *arguments: str | Path
) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """Runs a command of dora, which is interrupted in the end, and gives what it has said."""
    # A pipe that nobody reads would stop it: it says a lot.
    path = folder / "output.txt"
    with path.open("wb") as file:
        running = subprocess.Popen(
            [DORA, *arguments], cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            yield running, path.read_text
        finally:
            running.send_signal(signal.SIGINT)
            running.wait(PATIENCE_SECONDS)


def wait_until(running: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)


def is_on_the_tape(tape: Path) -> bool:
    """Returns whether enough of what the source sends is there."""
    try:
        topics = tl.open(tape).topics
        return "/source/struct" in topics and len(topics["/source/struct"]) >= COUNT
    except tl.Error:
        return False


@pytest.fixture
def dora(tmp_path: Path, environment: dict[str, str]) -> Iterator[Any]:
    """Returns what runs commands of a coordinator and a daemon of their own."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [DORA, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    up = run("up")
    assert up.returncode == 0, up.stderr
    yield run
    run("destroy")


def test_recordings_of_dora_are_read(dora: Any, tmp_path: Path, environment: dict[str, str]) -> None:
    flow = dataflow(tmp_path, limit=1_000_000)
    started = dora("start", flow, "--detach")
    assert started.returncode == 0, started.stderr
    path = tmp_path / "out.drec"
    with logged(tmp_path, environment, "record", flow, "--proxy", "-o", path) as (running, output):
        wait_until(running, lambda: path.exists() and path.stat().st_size > 20_000)
    assert "Recording finished" in output()
    dora("stop", "--all")

    opened = tl.open(path)
    assert opened.losses == []
    assert_recorded(opened)

    shown = subprocess.run([TAPELOOP, "info", path], capture_output=True, text=True, check=True).stdout
    assert "drec" in shown and "/source/numbers" in shown
    subprocess.run([TAPELOOP, "export", path, "-o", tmp_path / "out.mcap"], capture_output=True, check=True)
    exported = tl.open(tmp_path / "out.mcap")
    assert_recorded(exported)
    assert arrays(exported, "/source/numbers") == arrays(opened, "/source/numbers")
    torn = tmp_path / "torn.drec"
    torn.write_bytes(path.read_bytes()[:-100])
    assert len(list(tl.open(torn).messages("/source/*"))) < len(list(opened.messages("/source/*")))
    assert [loss["reason"].split(" at ")[0] for loss in tl.open(torn).losses] == ["torn record"]
