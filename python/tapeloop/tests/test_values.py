"""`Message.value` of every encoding, against decoders that share nothing with tapeloop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.highlevel import AnyReader

import tapeloop as tl

from .sensors import ROS1, SECOND, File, imu, joints, text, write
from .test_reading import SHARED

# How many messages of each topic are compared, from its beginning.
SAMPLE = 50


def plain(value: Any) -> Any:
    """Returns what another decoder made as dicts, lists, numbers and text."""
    if isinstance(value, str | bool | int | float) or value is None:
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return list(bytes(value))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return [plain(part) for part in value.tolist()]
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    slots = getattr(value, "__slots__", None)
    # Without slots, only constants are the class's too.
    names = slots if slots else [name for name in vars(value) if not hasattr(type(value), name)]
    return {name: plain(getattr(value, name)) for name in names if name != "__msgtype__"}


def same(ours: Any, theirs: Any, where: str) -> None:
    if isinstance(ours, np.ndarray):
        theirs = theirs.data
    np.testing.assert_equal(plain(ours), plain(theirs), err_msg=where)


def test_a_message_is_a_dict_in_the_order_of_its_definition(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.mcap", [("/imu", imu(3, 5 * SECOND + 7), 1), ("/joints", joints(2, 0), 2), ("/text", text(1), 3)]
    )
    one, two, three = [message.value for message in tl.open(path)]
    assert list(one)[:2] == ["header", "orientation"]
    assert one["header"] == {"stamp": {"sec": 5, "nanosec": 7}, "frame_id": "imu"}
    assert one["orientation_covariance"] == list(np.arange(9.0) + 3)
    assert np.isnan(one["angular_velocity"]["z"])
    assert two["name"] == ["joint0", "joint1", "joint2"] and two["velocity"] == []
    assert three == {"data": "message 1"}


def test_ros_1_is_decoded(tmp_path: Path) -> None:
    stamp = ROS1.types["builtin_interfaces/msg/Time"](sec=3, nanosec=4)
    header = ROS1.types["std_msgs/msg/Header"](seq=9, stamp=stamp, frame_id="base")
    scan = {"angle_min": 1.0, "angle_max": 2.0, "angle_increment": 0.5, "time_increment": 0.0, "scan_time": 0.0}
    scan |= {"range_min": 0.0, "range_max": 9.0}
    arrays = {"ranges": np.arange(5, dtype=np.float32), "intensities": np.zeros(0, np.float32)}
    message = ROS1.types["sensor_msgs/msg/LaserScan"](header=header, **scan, **arrays)
    with File(tmp_path / "a.mcap") as out:
        out.ros1("/scan", "sensor_msgs/msg/LaserScan", message, 1)
    (read,) = tl.open(tmp_path / "a.mcap")
    assert read.value["header"] == {"seq": 9, "stamp": {"sec": 3, "nsec": 4}, "frame_id": "base"}
    assert read.value["ranges"] == [0, 1, 2, 3, 4]


def test_json_is_what_it_says(tmp_path: Path) -> None:
    with File(tmp_path / "a.mcap") as out:
        out.raw("/a", b'{"b": [1, {"c": null}], "a": "x"}', 1, encoding="json", schema=("T", "jsonschema", b"{}"))
    (read,) = tl.open(tmp_path / "a.mcap")
    assert json.dumps(read.value) == '{"b": [1, {"c": null}], "a": "x"}'


def mcap_values(path: Path) -> Iterator[tuple[str, int, Any]]:
    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        for _, channel, message, value in reader.iter_decoded_messages():
            yield channel.topic, message.log_time, value


def bag_values(path: Path) -> Iterator[tuple[str, int, Any]]:
    with AnyReader([path]) as reader:
        for connection, time, data in reader.messages():
            yield connection.topic, time, reader.deserialize(data, connection.msgtype)


REAL = [
    ("mcap/g1/g1_ros2_mcap.mcap", mcap_values),
    ("mcap/comma2k19/comma2k19_ros2_mcap.mcap", mcap_values),
    ("mcap/all-types/tests/test_bags/test_bag_mcap/test_bag_mcap.mcap", mcap_values),
    ("ros1/husky-gps/test1.bag", bag_values),
]


@pytest.mark.parametrize(("name", "read"), REAL, ids=[name for name, _ in REAL])
def test_real_values_are_what_others_read(name: str, read: Any) -> None:
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    theirs: dict[str, list[tuple[int, Any]]] = {}
    for topic, time, value in read(path):
        if len(theirs.setdefault(topic, [])) < SAMPLE:
            theirs[topic].append((time, value))
    recording = tl.open(path)
    compared = 0
    for topic, expected in theirs.items():
        for (time, value), message in zip(expected, recording[topic].messages(), strict=False):
            assert message.log_time == time
            # Images are arrays, of which other tests know; some of these are none although they say so.
            if not message.type.endswith("Image"):
                same(renamed(message.value), value, topic)
            compared += 1
    assert compared


def renamed(value: Any) -> Any:
    """Returns a value of ROS 1 with the names that `rosbags` gives to the parts of a time."""
    if isinstance(value, dict):
        if list(value) == ["sec", "nsec"]:
            return {"sec": value["sec"], "nanosec": value["nsec"]}
        return {key: renamed(part) for key, part in value.items()}
    if isinstance(value, list):
        return [renamed(part) for part in value]
    return value
