"""The node that records a dataflow's inputs, without dora: what becomes of messages that cannot be recorded."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import tapeloop as tl
from tapeloop import dora


class Node:
    """What of a node of dora is used."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for index in range(4):
            yield {"type": "INPUT", "id": "in", "value": pa.array([index]), "metadata": {"frame": index}}
        yield {"type": "STOP"}

    def node_config(self) -> dict[str, Any]:
        return {"inputs": {"in": {"source": "camera/image"}}}


class Recorder:
    """A recorder that fails where it is told to."""

    def __init__(self, inner: tl.Recorder, errors: dict[int, tl.Error]) -> None:
        self.inner = inner
        self.errors = errors
        self.calls = 0

    def log(self, topic: str, value: Any, **options: Any) -> None:
        self.calls += 1
        if self.calls in self.errors:
            raise self.errors[self.calls]
        self.inner.log(topic, value, **options)


def frames(rec: tl.Recorder) -> tuple[list[int], list[int]]:
    clip = rec.save(before="1 h", after=0)
    values = [pa.ipc.open_stream(message.data).read_all()["data"][0].as_py() for message in clip["/in"]]
    return values, [message.value["frame"] for message in clip["/in/parameters"]]


def test_what_the_disk_met_before_costs_no_message(rec: tl.Recorder) -> None:
    # The first message, and the parameters of the second, are told what happened before.
    failing: Any = Recorder(rec, {1: tl.UnavailableError("disk"), 5: tl.UnavailableError("disk")})
    assert dora.record(Node(), failing) == (4, 0)
    assert frames(rec) == ([0, 1, 2, 3], [0, 1, 2, 3])


def test_what_cannot_be_recorded_is_counted_and_stops_nothing(
    rec: tl.Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    full = {call: tl.UnavailableError("the queue is full") for call in (1, 2)}
    failing: Any = Recorder(rec, {**full, 3: tl.InvalidError("too large")})
    assert dora.record(Node(), failing) == (4, 2)
    assert frames(rec) == ([2, 3], [2, 3])
    assert capsys.readouterr().err == "tapeloop-dora: a message of 'in' could not be recorded: the queue is full\n"


@pytest.mark.parametrize(("source", "code"), [("camera/image", 0), ("camera\0", 3)])
def test_the_exit_code_says_whether_all_was_recorded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, source: str, code: int
) -> None:
    class Sourced(Node):
        def node_config(self) -> dict[str, Any]:
            return {"inputs": {"in": source}}

    module = types.ModuleType("dora")
    vars(module)["Node"] = Sourced
    monkeypatch.setitem(sys.modules, "dora", module)
    assert dora.main(["--data", str(tmp_path / "tape"), "--keep", "1 h"]) == code
    assert ("4 messages, 4 lost" in capsys.readouterr().err) == (code == 3)
