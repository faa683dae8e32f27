"""Topics and their options: latched, QoS, publishers, handles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tapeloop as tl

Recorded = Callable[..., list[Any]]


def test_qos_is_kept_as_rosbag2_keeps_it(rec: tl.Recorder, recorded: Recorded) -> None:
    rec.log("/a", {"x": 1}, qos={"reliability": "best_effort", "depth": 5})
    (message,) = recorded(rec, "/a")
    profile = message.metadata["offered_qos_profiles"]
    for line in ("- history: 1", "  depth: 5", "  reliability: 2", "  durability: 2", "  liveliness: 1"):
        assert line in profile.splitlines()
    assert profile.count("sec: 9223372036\n    nsec: 854775807") == 3


@pytest.mark.parametrize(
    ("qos", "message"),
    [
        ({"relability": "reliable"}, "unknown qos 'relability'"),
        ({"reliability": "good"}, "one of system_default, reliable"),
        ({"depth": "many"}, "qos depth many"),
    ],
)
def test_a_wrong_qos_is_refused(rec: tl.Recorder, qos: Any, message: str) -> None:
    with pytest.raises(tl.InvalidError, match=message):
        rec.log("/a", {"x": 1}, qos=qos)


@pytest.mark.parametrize("options", [{"latched": True}, {"qos": {"durability": "transient_local"}}], ids=repr)
def test_a_latched_value_joins_recordings_that_start_after_it(rec: tl.Recorder, options: Any) -> None:
    rec.log("/map", {"v": 1}, log_time="20 min ago", **options)
    rec.log("/map", {"v": 2}, log_time="15 min ago")
    rec.log("/imu", {"x": 1})
    clip = rec.save(before="1 min")
    rec.close()
    (latched,) = clip["/map"]
    assert latched.value == {"v": 2}
    assert clip.report["asked"]["start_ns"] > latched.log_time


def test_each_publisher_has_its_own_latched_value(rec: tl.Recorder) -> None:
    left = rec.topic("/tf_static", latched=True, publisher="left")
    right = rec.topic("/tf_static", latched=True, publisher="right")
    for index in range(3):
        left.log({"index": index}, log_time=f"{20 - index} min ago")
        right.log({"index": 10 + index}, log_time=f"{20 - index} min ago")
    clip = rec.save(before="1 min")
    rec.close()
    messages = list(clip["/tf_static"])
    assert sorted(message.value["index"] for message in messages) == [2, 12]


def test_options_hold_for_the_topic_until_they_change(rec: tl.Recorder, recorded: Recorded) -> None:
    rec.log("/a", {"x": 1}, qos={"depth": 1})
    rec.log("/a", {"x": 2})
    rec.log("/a", {"x": 3}, qos={"depth": 2})
    rec.log("/a", {"x": 4})
    depths = [message.metadata["offered_qos_profiles"].split("depth: ")[1][0] for message in recorded(rec, "/a")]
    assert depths == ["1", "1", "2", "2"]


def test_a_handle_logs_like_its_recorder(rec: tl.Recorder, recorded: Recorded) -> None:
    schema = tl.Schema("T", "protobuf", b"x")
    handle = rec.topic("/typed", schema=schema, publisher="p")
    plain = rec.topic("/plain")
    handle.log(b"abc", log_time=7_000_000_000, publish_time=5)
    plain.log({"x": 1})
    clip = rec.save(start=0, end="now")
    (typed,) = clip["/typed"]
    assert (typed.data, typed.schema, typed.log_time, typed.publish_time) == (b"abc", schema, 7_000_000_000, 5)
    assert next(iter(clip["/plain"])).value == {"x": 1}
    assert handle.name == "/typed" and "/typed" in repr(handle) and "embedded tape" in repr(handle)


@pytest.mark.parametrize(
    ("name", "message"),
    [("", "needs a name"), ("/a\nb", "control character"), ("x" * 2000, "2000 bytes")],
    ids=["empty", "line", "long"],
)
def test_a_bad_topic_name_is_refused(rec: tl.Recorder, name: str, message: str) -> None:
    with pytest.raises(tl.InvalidError, match=message):
        rec.log(name, {"x": 1})
    with pytest.raises(tl.InvalidError, match=message):
        rec.topic(name)


def test_a_topic_that_is_no_text_is_a_type_error(rec: tl.Recorder) -> None:
    with pytest.raises(TypeError):
        rec.log(5, {"x": 1})  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        rec.log("/a", {"x": 1}, 5)  # type: ignore[call-arg]


def test_names_that_are_made_each_time_are_the_same_topic(rec: tl.Recorder) -> None:
    for index in range(1000):
        rec.log("/" + "abc"[index % 3], {"x": index})
    clip = rec.save(before="1 h")
    assert [len(clip[name]) for name in ("/a", "/b", "/c")] == [334, 333, 333]


def test_many_topics_keep_their_messages(rec: tl.Recorder) -> None:
    names = [f"/sensor/{index}" for index in range(2000)]
    for round in range(3):
        for index, name in enumerate(names):
            rec.log(name, {"index": index, "round": round})
    clip = rec.save(before="1 h")
    assert len(clip.topics) == 2000
    values = [message.value for message in clip["/sensor/1234"]]
    assert values == [{"index": 1234, "round": round} for round in range(3)]
