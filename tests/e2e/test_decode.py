"""What `tapeloop cat` decodes of the real recordings, compared field by field with decoders that are not ours."""

from __future__ import annotations

import csv
import dataclasses
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
from mcap.writer import Writer
from mcap_ros2.decoder import DecoderFactory
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

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
BAGS = {"all-types": ALL_TYPES_DB3, "plotjuggler": "ros2/plotjuggler"}
ROS1_BAGS = {"husky": "ros1/husky-gps/test1.bag", "fiducials": "ros1/fiducials"}
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
    with subprocess.Popen([TAPELOOP, "cat", path, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield line.rstrip("\n")
    assert process.returncode == 0


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
        if names == ["sec", "nanosec"] and "nsec" in ours:  # As ROS 1 calls it.
            ours = {"sec": ours["sec"], "nanosec": ours["nsec"]}
        assert isinstance(ours, dict) and list(ours) == names, f"{where}: {list(ours)} and {names}"
        for name in names:
            same(ours[name], getattr(theirs, name), f"{where}.{name}")


def is_same_float32(ours: float, theirs: float) -> bool:
    """Returns whether theirs is a number of 4 bytes and ours is its text."""
    packed = struct.pack("<f", theirs)
    return struct.unpack("<f", packed)[0] == theirs and struct.pack("<f", ours) == packed


def fields(message: Any) -> list[str]:
    """Returns the names of a decoded message's fields, in the order of its definition."""
    if dataclasses.is_dataclass(message):
        # Only constants have a default.
        names = [field.name for field in dataclasses.fields(message) if not hasattr(type(message), field.name)]
        return [name for name in names if name != "structure_needs_at_least_one_member"]
    return [name for name in message.__slots__ if not name.startswith("_")]


def sampled(number: int, count: int) -> bool:
    """Returns whether the message of this number is compared, where its topic has so many."""
    return number % max(count // SAMPLE, 1) == 0


@pytest.mark.parametrize("name", RECORDINGS)
def test_messages_of_mcap_files_are_equal_to_mcap_ros2_supports(name: str) -> None:
    """Every topic of every file, whole messages."""
    path = data(RECORDINGS[name])
    with path.open("rb") as file:
        counts = Counter(channel.topic for _, channel, _ in make_reader(file).iter_messages())
        file.seek(0)
        lines = cat(path, "--json")
        compared: Counter[str] = Counter()
        seen: Counter[str] = Counter()
        decoders: dict[int, Any] = {}
        factory = DecoderFactory()
        for schema, channel, message in make_reader(file).iter_messages():
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
def test_messages_of_sqlite_bags_are_equal_to_rosbags(name: str) -> None:
    """Whole messages, without a definition in the file."""
    for yaml in sorted(data(BAGS[name]).rglob("metadata.yaml")):
        compare(yaml.parent, yaml.parent)


@pytest.mark.parametrize("name", ROS1_BAGS)
def test_messages_of_ros1_are_equal_to_rosbags(name: str, tmp_path: Path) -> None:
    """Bags as they are, and their payloads and definitions in MCAP files."""
    path = data(ROS1_BAGS[name])
    for number, bag in enumerate(sorted(path.rglob("*.bag")) if path.is_dir() else [path]):
        copy = tmp_path / f"{number}.mcap"
        with AnyReader([bag]) as reader, copy.open("wb") as file:
            writer = Writer(file)
            writer.start()
            channels = {}
            for connection, time_ns, raw in reader.messages():
                if connection.id not in channels:
                    type_name = connection.msgtype.replace("/msg/", "/")
                    definition = connection.msgdef.data.encode()
                    schema = writer.register_schema(type_name, "ros1msg", definition)
                    channels[connection.id] = writer.register_channel(connection.topic, "ros1", schema)
                writer.add_message(channels[connection.id], time_ns, raw, time_ns)
            writer.finish()
        compare(bag, bag)
        compare(bag, copy)


def compare(bag: Path, ours: Path) -> None:
    """Compares what we read of a file with what rosbags reads of a bag: all topics, matched by number."""
    with AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
        counts: Counter[str] = Counter()
        for connection in reader.connections:
            counts[connection.topic] += connection.msgcount
        wanted: dict[str, list[tuple[int, Any]]] = {topic: [] for topic in counts}
        seen: Counter[str] = Counter()
        for connection, time_ns, raw in reader.messages():
            if sampled(seen[connection.topic], counts[connection.topic]):
                wanted[connection.topic].append((time_ns, reader.deserialize(raw, connection.msgtype)))
            seen[connection.topic] += 1
    seen.clear()
    for line in cat(ours, "--json"):
        found = json.loads(line)
        topic = found["topic"]
        number, count = seen[topic], counts[topic]
        seen[topic] += 1
        if sampled(number, count):
            time_ns, message = wanted[topic].pop(0)
            assert found["log_time"] == time_ns, topic
            same(found["message"], message, topic)
    assert not any(wanted.values())


def test_the_same_messages_in_two_containers_are_the_same_lines() -> None:
    """Every ROS 2 field type, from MCAP and from SQLite, recorded one after the other: stamps differ."""

    def without_stamps(value: Any) -> Any:
        if isinstance(value, dict):
            is_stamp = set(value) == {"sec", "nanosec"}
            return None if is_stamp else {name: without_stamps(part) for name, part in value.items()}
        return [without_stamps(part) for part in value] if isinstance(value, list) else value

    def messages(relative: str) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for line in map(json.loads, cat(data(relative), "--json")):
            found.setdefault(line["topic"], []).append(without_stamps(line["message"]))
        return found

    mcap = messages(ALL_TYPES_MCAP)
    assert mcap == messages(ALL_TYPES_DB3)
    assert all(message is not None for some in mcap.values() for message in some)


def test_fields_and_tables_have_what_whole_messages_have() -> None:
    """--fields and --csv, over a topic with nested values and one with lists."""
    path = data(RECORDINGS["g1"])
    whole = [json.loads(line)["message"] for line in cat(path, "--topic", "/joint_states", "--json")]
    some = cat(
        path, "--topic", "/joint_states", "--fields", "header.stamp.sec,name[1],position[0]", "position[999]", "--json"
    )
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
