"""`tapeloop.open`: files, folders, tapes; damaged ones too."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.writer import Writer

import tapeloop as tl

SHARED = Path(os.environ.get("TAPELOOP_TEST_DATA") or Path(__file__).parents[4] / "shared" / "data")


def write(
    path: Path, count: int = 10, *, encoding: str = "json", payload: bytes = b'{"x": 1}', finish: bool = True
) -> None:
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start("", "test")
        schema = writer.register_schema("T", "jsonschema", b"{}")
        a = writer.register_channel("/a", encoding, schema)
        b = writer.register_channel("/b*", encoding, 0, {"key": "value"})
        for index in range(count):
            writer.add_message(a, index * 1000, payload, index * 1000 - 1 if index else 0, index)
            writer.add_message(b, index * 1000, payload, index * 1000, index)
        if finish:
            writer.finish()  # type: ignore[no-untyped-call]


def test_a_file_of_another_program_opens(tmp_path: Path) -> None:
    path = tmp_path / "other.mcap"
    write(path)
    recording = tl.open(path)
    assert (recording.path, recording.format) == (path, "mcap")
    assert list(recording.topics) == ["/a", "/b*"]
    assert "/a" in recording and "/c" not in recording
    view = recording["/a"]
    assert (view.name, view.type, view.encoding, len(view), bool(view)) == ("/a", "T", "json", 10, True)
    assert view.schemas == [tl.Schema("T", "jsonschema", "{}")]
    assert recording["/b*"].metadata == {"key": "value"} and recording["/b*"].schemas == []
    assert len(list(recording["/b*"])) == len(recording["/b*"]) == 10
    messages = list(recording)
    assert len(messages) == 20 and [message.log_time for message in messages] == [
        time for time in range(0, 10_000, 1000) for _ in "ab"
    ]
    last = messages[-2]
    assert (last.topic, last.log_time, last.publish_time, last.sequence, last.type) == ("/a", 9000, 8999, 9, "T")
    assert (last.data, last.value, last.encoding) == (b'{"x": 1}', {"x": 1}, "json")
    assert last.data is last.data and last.value is last.value
    info = recording.info()
    assert (info["messages"], info["start_ns"], info["end_ns"], info["losses"]) == (20, 0, 9000, [])
    for shown in (recording, view, last, recording.messages()):
        assert repr(shown).startswith("<tapeloop.")
    assert "20 messages" in repr(recording)


def test_a_topic_that_is_not_there_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.mcap")
    with pytest.raises(tl.NotFoundError, match=r"no topic '/nope' here; there are /a, /b\*"):
        tl.open(tmp_path / "a.mcap")["/nope"]


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(tl.NotFoundError, match=r"missing\.mcap"):
        tl.open(tmp_path / "missing.mcap")
    (tmp_path / "empty.mcap").touch()
    (tmp_path / "text.mcap").write_text("hello, this is no MCAP file at all\n")
    (tmp_path / "pointer.mcap").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 5\n"
    )
    for name in ("empty.mcap", "text.mcap", "pointer.mcap"):
        with pytest.raises(tl.Error, match=name):
            tl.open(tmp_path / name)


def test_a_torn_file_gives_what_there_is_and_says_what_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "torn.mcap"
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=10_000)
        writer.start("", "test")
        channel = writer.register_channel("/a", "json", 0)
        for index in range(2000):
            writer.add_message(channel, index, os.urandom(50).hex().encode(), index)
        writer.finish()  # type: ignore[no-untyped-call]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    recording = tl.open(path)
    iterator = recording.messages()
    count = sum(1 for _ in iterator)
    assert 100 < count < 2000
    assert recording.info()["messages"] == count
    assert recording.losses and iterator.losses and recording.losses[0]["reason"]


def test_a_payload_that_is_not_json_raises_when_its_value_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a.mcap", payload=b"{")
    message = next(tl.open(tmp_path / "a.mcap").messages("/a"))
    assert message.data == b"{"
    with pytest.raises(tl.CorruptError, match="message on '/a' is not T in json"):
        _ = message.value


def test_a_payload_whose_definition_is_not_read_raises_when_its_value_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a.mcap", encoding="x-own")
    message = next(tl.open(tmp_path / "a.mcap").messages("/a"))
    with pytest.raises(tl.InvalidError, match=r"message on '/a': .*x-own"):
        _ = message.value


@pytest.mark.parametrize(
    "kind", ["sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "std_msgs/msg/Float64MultiArray"]
)
@pytest.mark.parametrize(
    "payload",
    [b"", b"\0\1\0\0", b"\0\1\0\0" + b"\xff" * 40, b"\0\1\0\0" + b"\2\0\0\0" * 20],
    ids=["empty", "header", "ones", "twos"],
)
def test_a_damaged_cdr_payload_never_crashes(tmp_path: Path, kind: str, payload: bytes) -> None:
    with (tmp_path / "a.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start("", "test")
        channel = writer.register_channel("/a", "cdr", writer.register_schema(kind, "ros2msg", b""))
        writer.add_message(channel, 0, payload, 0)
        writer.finish()  # type: ignore[no-untyped-call]
    (message,) = tl.open(tmp_path / "a.mcap")
    try:
        # What has fields but is no picture is a dict.
        assert isinstance(message.value, dict)
    except tl.Error as error:
        assert "message on '/a'" in str(error)


def test_a_tape_opens_as_a_whole_while_it_is_recorded(rec: tl.Recorder) -> None:
    for index in range(500):
        rec.log("/t", {"index": index})
    rec.flush()
    assert rec.path is not None
    tape = tl.open(rec.path)
    assert tape.format == "tape"
    assert [message.value["index"] for message in tape.messages("/t")] == list(range(500))


def test_an_iterator_reads_on_in_any_thread_but_one_at_a_time(rec: tl.Recorder) -> None:
    for index in range(1000):
        rec.log("/t", {"index": index})
    iterator = rec.save(before="1 h").messages("/t")
    assert iter(iterator) is iterator
    assert next(iterator).value["index"] == 0
    assert sum(1 for _ in iterator) == 999
    assert next(iterator, None) is None


def test_a_recording_of_two_schemas_on_a_topic_says_both(rec: tl.Recorder) -> None:
    rec.log("/t", {"x": 1})
    rec.log("/t", np.zeros(3))
    view = rec.save(before="1 h")["/t"]
    assert sorted(view.type.split(", ")) == ["std_msgs/msg/Float64MultiArray", "t"]
    assert len(view.schemas) == 2 and len(view) == 2


@pytest.mark.parametrize("name", ["g1/g1_ros2_mcap.mcap", "comma2k19/comma2k19_ros2_mcap.mcap"])
def test_real_recordings_read_like_with_the_mcap_package(name: str) -> None:
    path = SHARED / "mcap" / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    from mcap.reader import make_reader

    expected: dict[str, int] = {}
    with path.open("rb") as file:
        for _, channel, _ in make_reader(file).iter_messages(log_time_order=False):
            expected[channel.topic] = expected.get(channel.topic, 0) + 1
    recording = tl.open(path)
    counted: dict[str, int] = {}
    last = 0
    for topic, log_time, _, _ in recording.messages(raw=True):
        counted[topic] = counted.get(topic, 0) + 1
        assert log_time >= last
        last = log_time
    assert counted == expected
    assert {topic["topic"]: topic["messages"] for topic in recording.info()["topics"] if topic["messages"]} == expected


def test_real_images_decode(request: Any) -> None:
    path = SHARED / "mcap" / "g1" / "g1_ros2_mcap.mcap"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    recording = tl.open(path)
    images = [name for name, view in recording.topics.items() if view.type == "sensor_msgs/msg/CompressedImage"]
    for name in images:
        value = next(recording[name].messages()).value
        assert value.ndim == 3 and value.dtype == np.uint8


def test_a_topic_that_is_not_there_is_told(tmp_path: Path) -> None:
    write(tmp_path / "a.mcap")
    recording = tl.open(tmp_path / "a.mcap")
    for ask in ("/nosuch", ["/a", "/nosuch"]):
        with pytest.raises(tl.NotFoundError, match="no topic '/nosuch' here; there are /a"):
            recording.messages(ask)
    assert list(recording.messages("/nosuch*")) == []
    assert repr(recording.messages()).endswith("a.mcap: all topics>")
    assert repr(recording["/a"].messages()).endswith("a.mcap: /a>")


def test_a_topic_without_a_type_says_so(tmp_path: Path) -> None:
    with (tmp_path / "a.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start("", "test")
        for topic, encoding in (("/none", ""), ("/odd", "msgpack")):
            writer.add_message(writer.register_channel(topic, encoding, 0), 1, b"x", 1)
        writer.finish()  # type: ignore[no-untyped-call]
    recording = tl.open(tmp_path / "a.mcap")
    assert repr(recording["/none"]) == "<tapeloop.TopicView /none: no type, no encoding>"
    assert repr(recording["/odd"]) == "<tapeloop.TopicView /odd: no type, as msgpack>"


@pytest.mark.parametrize("path", [5, b"/x", None])
def test_a_path_is_text_or_a_path(path: Any) -> None:
    with pytest.raises(TypeError, match="a path is text or a "):
        tl.open(path)
