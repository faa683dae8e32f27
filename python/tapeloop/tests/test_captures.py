"""Keeping the past: save, keep, clips and their reports."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapeloop as tl

from .conftest import foreign

Recorded = Callable[..., list[Any]]


def log_some(rec: tl.Recorder, count: int = 100, topic: str = "/imu") -> None:
    for index in range(count):
        rec.log(topic, {"index": index})


def test_save_returns_at_once_and_completes(rec: tl.Recorder) -> None:
    log_some(rec)
    clip = rec.save(before="30 s", why="missed stop sign", labels={"run": 12, "who": "me"})
    assert clip.state in ("completing", "complete")
    assert [message.value["index"] for message in clip["/imu"]] == list(range(100))
    assert clip.wait(30).state == "complete"
    assert clip.wait() is clip
    assert (clip.why, clip.labels, clip.name) == ("missed stop sign", {"run": "12", "who": "me"}, None)
    report = clip.report
    assert report["recording"] == clip.id and report["state"] == "complete"
    assert [kept["messages"] for kept in report["kept"] if kept["topic"] == "/imu"] == [100]
    assert all(segment["hash"] and segment["size_bytes"] for segment in report["segments"])
    assert clip.path.is_file() and clip.path.is_absolute()
    assert clip.id in repr(clip) and "complete" in repr(clip)


def test_topics_choose_what_is_kept(rec: tl.Recorder) -> None:
    for topic in ("/camera/front", "/camera/rear", "/imu"):
        log_some(rec, 3, topic)
    clip = rec.save(before="1 min", topics=["/camera/**", "!/camera/rear"])
    assert list(clip.topics) == ["/camera/front"]
    assert {message.topic for message in clip.messages()} == {"/camera/front"}
    assert list(rec.save(before="1 min", topics="/imu").topics) == ["/imu"]
    assert rec.save(before="1 min", topics="/imu").report["asked"]["topics"] == ["/imu"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "say how much to keep"),
        ({"before": 1, "start": 5}, "say either"),
        ({"start": 9, "end": 5}, "empty"),
        ({"end": 5}, "needs a start"),
        ({"before": 1, "topics": []}, "selects nothing"),
        ({"before": 1, "topics": [5]}, "a topic is text"),
        ({"before": 1, "topics": 5}, "topics are text"),
        ({"before": 1, "topics": "!"}, "empty topic pattern"),
    ],
    ids=repr,
)
def test_a_request_that_makes_no_sense_is_refused(rec: tl.Recorder, arguments: Any, message: str) -> None:
    with pytest.raises(tl.InvalidError, match=message):
        rec.save(**arguments)


def test_what_was_never_recorded_is_in_the_report(rec: tl.Recorder) -> None:
    log_some(rec)
    missing = rec.save(before="1 h").report["missing"]
    assert missing and all(loss["reason"] for loss in missing)


def test_an_after_window_takes_what_comes(rec: tl.Recorder) -> None:
    rec.log("/imu", {"index": 0})
    clip = rec.save(before="10 s", after="0.3 s")
    assert clip.state == "completing"
    with pytest.raises(tl.UnavailableError, match="still completing"):
        clip.wait(0.01)
    rec.log("/imu", {"index": 1})
    assert clip.wait("30 s").state == "complete"
    assert [message.value["index"] for message in clip["/imu"]] == [0, 1]


def test_closing_waits_for_an_after_window_or_cuts_it_short(tmp_path: Path) -> None:
    with tl.recorder(data=tmp_path / "a") as rec:
        waited = rec.save(before=1, after=0.4)
        begun = time.monotonic()
    assert time.monotonic() - begun > 0.2
    assert waited.state == "complete"
    rec = tl.recorder(data=tmp_path / "b")
    cut = rec.save(before=1, after=3600)
    rec.close(pending="cut")
    assert cut.state == "cut_short"
    rec = tl.recorder(data=tmp_path / "c")
    resumed = rec.save(before=1, after=3600)
    rec.close(pending="resume")
    assert resumed.state == "completing"
    with tl.recorder(data=tmp_path / "c") as again:
        assert again.recording(resumed.id).state == "completing"
        again.close(pending="cut")
    with pytest.raises(tl.InvalidError, match="pending='maybe'"):
        rec.close(pending="maybe")  # type: ignore[arg-type]


def test_keep_takes_what_was_before_and_ends_with_its_block(rec: tl.Recorder) -> None:
    rec.log("/imu", {"index": 0})
    with rec.keep("run-12", before="10 s", why="a run", labels={"n": 1}) as clip:
        assert clip.state == "keeping" and clip.name == "run-12"
        rec.log("/imu", {"index": 1})
    rec.log("/other", {"index": 2})
    assert clip.wait(30).state == "complete"
    assert [message.value["index"] for message in clip["/imu"]] == [0, 1]
    assert clip.why == "a run" and clip.labels == {"n": "1"}


def test_keep_can_be_stopped_by_hand(rec: tl.Recorder) -> None:
    keep = rec.keep("run")
    assert "keeping" in repr(keep) and keep.name == "run"
    with pytest.raises(tl.ConflictError, match="run"):
        rec.keep("run")
    rec.log("/imu", {"index": 1})
    clip = keep.stop()
    assert keep.stop() is clip is keep.clip
    assert "stopped" in repr(keep)
    assert len(clip.wait(30)["/imu"]) == 1
    rec.keep("run").stop()


def test_a_keep_ends_although_its_block_fails(rec: tl.Recorder) -> None:
    with pytest.raises(RuntimeError, match="crash"), rec.keep("run") as clip:
        raise RuntimeError("crash")
    assert clip.wait(30).state == "complete"


def test_a_keep_may_go_on_after_its_end(rec: tl.Recorder) -> None:
    with rec.keep("run", after="0.3 s") as clip:
        pass
    assert clip.state == "completing"
    rec.log("/imu", {"index": 1})
    assert len(clip.wait(30)["/imu"]) == 1


def test_recordings_are_found_again(rec: tl.Recorder, tmp_path: Path) -> None:
    log_some(rec)
    clips = [rec.save(before="1 min", why=str(index)) for index in range(3)]
    assert [clip.id for clip in rec.recordings()] == [clip.id for clip in clips]
    assert rec.recording(clips[1].id).why == "1"
    with pytest.raises(tl.NotFoundError, match="nonsense"):
        rec.recording("nonsense")


def test_a_clip_reads_after_its_recorder_is_closed(rec: tl.Recorder) -> None:
    log_some(rec)
    clip = rec.save(before="1 min")
    rec.close()
    assert clip.state == "complete"
    assert len(clip["/imu"]) == 100
    assert len(tl.open(clip.path)["/imu"]) == 100
    assert clip.open().format == "recording"


def test_a_clip_exports_what_another_reader_reads(rec: tl.Recorder, tmp_path: Path) -> None:
    log_some(rec)
    log_some(rec, 50, "/odom")
    clip = rec.save(before="1 min")
    whole = clip.export(tmp_path / "whole.mcap")
    assert whole["messages"] >= 150
    for compression in ("none", "lz4", "zstd", "zstd(9)"):
        path = tmp_path / f"{compression}.mcap"
        report = clip.export(path, topics="/imu", compression=compression)
        assert report["messages"] == 100
        assert [message.value["index"] for message in foreign(path)] == list(range(100))
        assert [message.value for message in tl.open(path).messages()] == [message.value for message in clip["/imu"]]
    with pytest.raises(tl.InvalidError, match="compression='rar'"):
        clip.export(tmp_path / "x.mcap", compression="rar")


def test_a_clip_reads_a_part(rec: tl.Recorder) -> None:
    times = [1_000_000_000 * second for second in range(10, 20)]
    for log_time in times:
        rec.log("/a", {"t": log_time}, log_time=log_time)
        rec.log("/b", {"t": log_time}, log_time=log_time)
    clip = rec.save(start=0, end=20_000_000_000)
    part = [message.log_time for message in clip.messages("/a", start=times[2], end=times[5])]
    assert part == times[2:5]
    raw = list(clip.messages(["/a"], start=times[9], raw=True))
    assert raw == [("/a", times[9], times[9], b'{"t":19000000000}')]
    assert [message.topic for message in clip.messages()] == ["/a", "/b"] * 10


def test_waiting_does_not_stop_other_threads(rec: tl.Recorder) -> None:
    clip = rec.save(before=1, after=1)
    counted = 0
    waiter = threading.Thread(target=clip.wait)
    waiter.start()
    while waiter.is_alive():
        counted += 1
    waiter.join()
    assert counted > 1000


def test_a_clip_is_read_like_a_recording(rec: tl.Recorder) -> None:
    for index in range(5):
        rec.log("/x", {"v": index}, log_time=1_000_000_000 * (index + 1))
        rec.log("/camera", np.full((4, 6, 3), index, np.uint8), log_time=1_000_000_000 * (index + 1))
    clip = rec.save(start=0, end="now")
    assert [frame.pixels.max() for frame in clip.frames("/camera")] == [0, 1, 2, 3, 4]
    assert clip.align(hz=1, columns=["/x.v"]).to_numpy("/x.v").tolist() == [0, 1, 2, 3, 4]
    assert clip.info()["messages"] == sum(1 for _ in clip) == 10 and clip.losses == []
    assert "/x" in clip and "/nosuch" not in clip
