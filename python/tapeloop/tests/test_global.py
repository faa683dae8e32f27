"""The recorder of the module itself."""

from __future__ import annotations

from pathlib import Path

import pytest

import tapeloop as tl

from .conftest import QUICK
from .test_recorder import python


def test_the_module_logs_with_a_recorder_of_its_own(tmp_path: Path) -> None:
    rec = tl.init("rover-7", data=tmp_path / "a", config=QUICK)
    try:
        assert tl.global_recorder() is rec
        tl.log("/t", {"x": 1})
        tl.log("/t", b"abc", log_time="1 s ago", schema=tl.Schema("T", "protobuf", b""), publisher="p")
        tl.flush()
        assert tl.status()["device"] == "rover-7"
        with tl.keep("run", before="10 s") as kept:
            tl.log("/t", {"x": 2})
        clip = tl.save(before="1 h", why="because")
        assert len(clip["/t"]) == 3 and len(kept.wait(30)["/t"]) == 3
        again = tl.init("rover-8", data=tmp_path / "b")
        assert rec.closed and tl.global_recorder() is again
        with pytest.raises(tl.InvalidError):
            tl.init("not a name")
    finally:
        tl.global_recorder().close()


def test_its_first_use_opens_it(tmp_path: Path) -> None:
    code = """
import tapeloop as tl
tl.log("/t", {"x": 1})
print(tl.save(before="1 h")["/t"].name, tl.global_recorder().path)
"""
    ran = python(code, tmp_path)
    assert ran.returncode == 0, ran.stderr
    topic, folder = ran.stdout.split()
    assert topic == "/t" and len(tl.open(folder)["/t"]) == 1
    assert ran.stderr.startswith("tapeloop: no agent answered")
