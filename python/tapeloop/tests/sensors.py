"""Recordings of sensors as other programs write them: `rosbags` encodes, `mcap` writes, nothing of tapeloop."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from mcap.writer import Writer
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_HUMBLE)
ROS1 = get_typestore(Stores.ROS1_NOETIC)
SECOND = 1_000_000_000


def make(name: str, /, **fields: Any) -> Any:
    """Returns a message of ROS 2."""
    return STORE.types[name](**fields)


def header(stamp_ns: int, frame_id: str = "base") -> Any:
    stamp = make("builtin_interfaces/msg/Time", sec=stamp_ns // SECOND, nanosec=stamp_ns % SECOND)
    return make("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def vector(x: float, y: float, z: float) -> Any:
    return make("geometry_msgs/msg/Vector3", x=x, y=y, z=z)


def imu(index: int, stamp_ns: int) -> Any:
    return make(
        "sensor_msgs/msg/Imu",
        header=header(stamp_ns, "imu"),
        orientation=make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
        orientation_covariance=np.arange(9.0) + index,
        angular_velocity=vector(index + 0.25, -index, np.nan if index == 3 else 0.5),
        angular_velocity_covariance=np.zeros(9),
        linear_acceleration=vector(0.0, 0.0, 9.81),
        linear_acceleration_covariance=np.zeros(9),
    )


def joints(index: int, stamp_ns: int, count: int = 3) -> Any:
    return make(
        "sensor_msgs/msg/JointState",
        header=header(stamp_ns, ""),
        name=[f"joint{number}" for number in range(count)],
        position=np.arange(float(count)) + index,
        velocity=np.array([]),
        effort=np.array([]),
    )


def text(index: int) -> Any:
    return make("std_msgs/msg/String", data=f"message {index}")


def image(
    pixels: np.ndarray[Any, Any], encoding: str, *, stamp_ns: int = 7, padding: int = 0, big_endian: int = 0
) -> Any:
    """Returns an image whose rows may have something behind them."""
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(pixels.shape[0], -1)
    rows = np.pad(rows, ((0, 0), (0, padding)))
    return make(
        "sensor_msgs/msg/Image",
        header=header(stamp_ns, "camera"),
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=big_endian,
        step=rows.shape[1],
        data=rows.reshape(-1),
    )


def compressed(data: bytes, format: str, stamp_ns: int = 7) -> Any:
    array = np.frombuffer(data, np.uint8)
    return make("sensor_msgs/msg/CompressedImage", header=header(stamp_ns, "camera"), format=format, data=array)


class File:
    """An MCAP file that is being written."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("wb")
        self.writer = Writer(self.file)
        self.writer.start("ros2", "test")
        self.channels: dict[tuple[str, str], int] = {}

    def ros2(self, topic: str, message: Any, log_time: int) -> None:
        """Adds a message of ROS 2."""
        kind = message.__msgtype__
        definition, _ = STORE.generate_msgdef(kind, ros_version=2)
        payload = bytes(STORE.serialize_cdr(message, kind))
        self.raw(topic, payload, log_time, encoding="cdr", schema=(kind, "ros2msg", definition.encode()))

    def ros1(self, topic: str, kind: str, message: Any, log_time: int) -> None:
        """Adds a message as ROS 1 encodes it."""
        definition, _ = ROS1.generate_msgdef(kind, ros_version=1)
        payload = bytes(ROS1.serialize_ros1(message, kind))
        name = kind.replace("/msg/", "/")
        self.raw(topic, payload, log_time, encoding="ros1", schema=(name, "ros1msg", definition.encode()))

    def raw(self, topic: str, payload: bytes, log_time: int, *, encoding: str, schema: tuple[str, str, bytes]) -> None:
        """Adds a payload."""
        key = (topic, schema[0])
        if key not in self.channels:
            self.channels[key] = self.writer.register_channel(topic, encoding, self.writer.register_schema(*schema))
        self.writer.add_message(self.channels[key], log_time, payload, log_time)

    def __enter__(self) -> File:
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.finish()  # type: ignore[no-untyped-call]
        self.file.close()


def write(path: Path, messages: Iterable[tuple[str, Any, int]]) -> Path:
    """Writes messages of ROS 2: topic, message, log time."""
    with File(path) as file:
        for topic, message, log_time in messages:
            file.ros2(topic, message, log_time)
    return path
