"""ROS 1 bags and PX4 logs, converted and compared with what PyPI's rosbags and pyulog read."""

from __future__ import annotations

import json
import os
import subprocess
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from pyulog import ULog
from rosbags.rosbag1 import Reader

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("TAPELOOP_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
TAPELOOP = Path(os.environ.get("TAPELOOP_BIN_DIR", REPOSITORY / "target" / "debug")) / "tapeloop"
BAGS = ["husky-gps/test1", "turtlesim/example", "turtlesim/example-lz4", "turtlesim/example-bz2"]
SMALL_BAGS = ["fiducials/aruco_images", "fiducials/aruco_transforms"]


def existing(relative: str) -> Path:
    """Returns a real recording, or skips the test."""
    path = DATA / relative
    if not path.exists():
        pytest.skip(f"there are no real recordings in {DATA} (set TAPELOOP_TEST_DATA)")
    return path


def converted(path: Path, out: Path, code: int = 0) -> dict[str, list[tuple[int, bytes]]]:
    """Converts a recording and returns log times and payloads by topic."""
    done = subprocess.run([TAPELOOP, "convert", path, "-o", out], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    found: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
    with out.open("rb") as file:
        for _, channel, message in make_reader(file, validate_crcs=True).iter_messages():
            found[channel.topic].append((message.log_time, message.data))
    return found


@pytest.mark.parametrize("name", BAGS + SMALL_BAGS)
def test_every_message_of_a_bag_is_what_rosbags_reads(name: str, tmp_path: Path) -> None:
    """Topics, times and bytes."""
    path = existing(f"ros1/{name}.bag")
    expected: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
    with Reader(path) as reader:
        for connection, time_ns, data in reader.messages():
            expected[connection.topic].append((time_ns, bytes(data)))
    found = converted(path, tmp_path / "out.mcap")
    assert {topic: sorted(messages) for topic, messages in found.items()} == {
        topic: sorted(messages) for topic, messages in expected.items()
    }


@pytest.mark.parametrize(("name", "code"), [("sample_log_small", 3), ("sample_appended_multiple", 0)])
def test_every_value_of_a_log_is_what_pyulog_reads(name: str, code: int, tmp_path: Path) -> None:
    """Every field of every message, and the logged text. One log has a dropout: messages are lost in it."""
    log = existing(f"ulog/{name}.ulg")
    found = converted(log, tmp_path / "out.mcap", code)
    theirs = ULog(str(log))
    for data in theirs.data_list:
        topic = f"/{data.name}" if f"/{data.name}" in found else f"/{data.name}/{data.multi_id}"
        types = {"bool": "?", "char": "i1", "float": "f4", "double": "f8"}
        fields = [
            (field.field_name, types.get(field.type_str, field.type_str.removesuffix("_t")))
            for field in data.field_data
        ]
        kind = np.dtype(fields).newbyteorder("<")
        ours = np.frombuffer(b"".join(payload[: kind.itemsize] for _, payload in found[topic]), dtype=kind)
        # Conversions are in the order of time.
        order = np.argsort(data.data["timestamp"], kind="stable")
        for field, _ in fields:
            assert ours[field].tobytes() == data.data[field][order].tobytes(), (topic, field)
    text = [json.loads(payload) for _, payload in found["/log"]]
    said = [(message.log_level_str(), message.message) for message in theirs.logged_messages]
    assert [(line["level"], line["message"]) for line in text] == said
    expected = existing(f"ulog/{name}_messages.txt").read_text().splitlines()
    assert [f"{line['level']}: {line['message']}" for line in text] == [line.split(" ", 1)[1] for line in expected]


def test_damaged_files_give_at_least_what_others_give(tmp_path: Path) -> None:
    """What rosbags and pyulog get of them: nothing, 7,025, and 6,731 messages."""
    least = {"husky_gps__trunc50.bag": 7_025, "husky_gps__hole4k.bag": 15_000, "px4small__trunc50.ulg": 6_731}
    for name, count in least.items():
        found = converted(existing(f"damaged/{name}"), tmp_path / f"{name}.mcap", 3)
        assert sum(len(messages) for topic, messages in found.items() if topic != "/log") >= count, name
