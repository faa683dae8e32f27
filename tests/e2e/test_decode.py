"""What `tapeloop cat` decodes of the real recordings, compared field by field with decoders that are not ours."""

from __future__ import annotations

import csv
import json
import math
import os
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.highlevel import AnyReader

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("TAPELOOP_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
TAPELOOP = Path(os.environ.get("TAPELOOP_BIN_DIR", REPOSITORY / "target" / "debug")) / "tapeloop"

ALL_TYPES_MCAP = "mcap/all-types/tests/test_bags/test_bag_mcap/test_bag_mcap.mcap"
ALL_TYPES_DB3 = "ros2/all-types/tests/test_bags/test_bag_sqlite3"
RECORDINGS = {
    "all-types": ALL_TYPES_MCAP,
    "g1": "mcap/g1/g1_ros2_mcap.mcap",
    "comma2k19": "mcap/comma2k19/comma2k19_ros2_mcap.mcap",
}
BAGS = {
    "husky": "ros1/husky-gps/test1.bag",
    "fiducials": "ros1/fiducials",
    "all-types-db3": ALL_TYPES_DB3,
    "plotjuggler": "ros2/plotjuggler",
}
#: Of each topic so many messages are compared, and of a few topics with very many every so manieth.
SAMPLE = 200


def data(relative: str) -> Path:
    """Returns a path among the real recordings, or skips the test."""
    path = DATA / relative
    if not path.exists():
        pytest.skip(f"there is no recording {path} (set TAPELOOP_TEST_DATA)")
    return path


def cat(path: Path, *arguments: str) -> Iterator[str]:
    """Yields the lines of `tapeloop cat`."""
    process = subprocess.Popen([TAPELOOP, "cat", path, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        yield line.rstrip("\n")
    assert process.wait() == 0


def same(ours: Any, theirs: Any, where: str) -> None:
    """Asserts that a value of JSON is the value of another decoder."""
    if isinstance(theirs, (bytes, bytearray)):
        theirs = list(theirs)
    if isinstance(theirs, np.ndarray):
        theirs = theirs.tolist() if theirs.dtype != np.float32 else list(theirs)
    if isinstance(theirs, (list, tuple)):
        assert isinstance(ours, list) and len(ours) == len(theirs), where
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            same(one, other, f"{where}[{index}]")
    elif isinstance(theirs, (float, np.floating)):
        number = float(ours)  # "NaN" and "Infinity" too.
        if math.isnan(theirs):
            assert math.isnan(number), where
        else:
            # A decoder in Python does not say that a number has 4 bytes, whose shortest text is ours.
            assert number == theirs or is_same_float32(number, float(theirs)), f"{where}: {ours} and {theirs}"
    elif isinstance(theirs, (bool, int, str, np.integer, np.bool_)):
        assert ours == theirs, f"{where}: {ours} and {theirs}"
    else:
        names = fields(theirs)
        assert isinstance(ours, dict) and list(ours) == names, f"{where}: {list(ours)} and {names}"
        for name in names:
            same(ours[name], getattr(theirs, name), f"{where}.{name}")


def is_same_float32(ours: float, theirs: float) -> bool:
    """Returns whether theirs is a number of 4 bytes and ours is its text."""
    packed = struct.pack("<f", theirs)
    return struct.unpack("<f", packed)[0] == theirs and struct.pack("<f", ours) == packed


def fields(message: Any) -> list[str]:
    """Returns the names of a decoded message's fields, in the order of its definition."""
    if hasattr(message, "__dataclass_fields__"):
        names = message.__dataclass_fields__
        return [name for name in names if name not in ("__msgtype__", "structure_needs_at_least_one_member")]
    return [name for name in message.__slots__ if not name.startswith("_")]


def sampled(number: int, count: int) -> bool:
    """Returns whether the message of this number is compared, where its topic has so many."""
    return number % max(count // SAMPLE, 1) == 0


@pytest.mark.parametrize("name", RECORDINGS)
def test_messages_of_mcap_files_are_equal_to_mcap_ros2_supports(name: str) -> None:
    """Every topic of every file, whole messages."""
    path = data(RECORDINGS[name])
    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        summary = reader.get_summary()
        assert summary is not None and summary.statistics is not None
        counts = {summary.channels[key].topic: count for key, count in summary.statistics.channel_message_counts.items()}
        lines = cat(path, "--json")
        compared: Counter[str] = Counter()
        seen: Counter[str] = Counter()
        decoders: dict[int, Any] = {}
        factory = DecoderFactory()
        for schema, channel, message in reader.iter_messages():
            line = next(lines)
            number = seen[channel.topic]
            seen[channel.topic] += 1
            if not sampled(number, counts[channel.topic]):
                continue
            found = json.loads(line)
            assert (found["topic"], found["log_time"]) == (channel.topic, message.log_time)
            decode = decoders.setdefault(channel.id, factory.decoder_for(channel.message_encoding, schema))
            same(found["message"], decode(message.data), channel.topic)
            compared[channel.topic] += 1
        assert next(lines, None) is None
    assert compared.keys() == counts.keys()


@pytest.mark.parametrize("name", BAGS)
def test_messages_of_bags_are_equal_to_rosbags(name: str) -> None:
    """ROS 1 and SQLite: whole messages, matched by topic and number."""
    path = data(BAGS[name])
    paths = sorted(path.rglob("*.bag")) if "fiducials" in name else [path]
    if "plotjuggler" in name:
        paths = [file.parent for file in sorted(path.rglob("metadata.yaml"))]
    for bag in paths:
        compare_bag(bag)


def compare_bag(bag: Path) -> None:
    """Compares all topics of a bag whose types the other decoder knows."""
    with AnyReader([bag]) as reader:
        counts = {connection.topic: connection.msgcount for connection in reader.connections}
        wanted: dict[str, list[tuple[int, Any]]] = {topic: [] for topic in counts}
        seen: Counter[str] = Counter()
        for connection, time_ns, raw in reader.messages():
            if sampled(seen[connection.topic], counts[connection.topic]):
                wanted[connection.topic].append((time_ns, reader.deserialize(raw, connection.msgtype)))
            seen[connection.topic] += 1
    seen.clear()
    for line in cat(bag, "--json"):
        found = json.loads(line)
        topic = found["topic"]
        number, count = seen[topic], counts.get(topic, 0)
        seen[topic] += 1
        if count and sampled(number, count):
            time_ns, message = wanted[topic].pop(0)
            assert found["log_time"] == time_ns, topic
            same(found["message"], message, topic)
    assert not any(wanted.values())


def test_the_same_messages_in_two_containers_are_the_same_lines() -> None:
    """Every ROS 2 field type, from MCAP and from SQLite."""

    def messages(relative: str) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for line in map(json.loads, cat(data(relative), "--json")):
            found.setdefault(line["topic"], []).append(line["message"])
        return found

    mcap = messages(ALL_TYPES_MCAP)
    assert mcap == messages(ALL_TYPES_DB3)
    assert all(message is not None for some in mcap.values() for message in some)


def test_fields_and_tables_have_what_whole_messages_have() -> None:
    """--fields and --csv, over a topic with nested values and one with lists."""
    path = data(RECORDINGS["g1"])
    whole = [json.loads(line)["message"] for line in cat(path, "--topic", "/joint_states", "--json")]
    some = cat(path, "--topic", "/joint_states", "--fields", "header.stamp.sec,name[1],position[0]", "position[999]", "--json")
    for message, line in zip(whole, some, strict=True):
        assert json.loads(line)["message"] == {
            "header.stamp.sec": message["header"]["stamp"]["sec"],
            "name[1]": message["name"][1],
            "position[0]": message["position"][0],
            "position[999]": None,
        }
    rows = list(csv.DictReader(cat(path, "--topic", "/joint_states", "--csv")))
    assert len(rows) == len(whole)
    for message, row in zip(whole, rows, strict=True):
        assert int(row["header.stamp.nanosec"]) == message["header"]["stamp"]["nanosec"]
        assert row["header.frame_id"] == message["header"]["frame_id"]
        assert json.loads(row["position"]) == message["position"]


def test_a_field_that_is_not_there_names_the_nearest_ones() -> None:
    """And nothing is printed."""
    path = data(RECORDINGS["g1"])
    done = subprocess.run(
        [TAPELOOP, "cat", path, "--topic", "/joint_states", "--fields", "positions"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "there are position" in done.stderr
