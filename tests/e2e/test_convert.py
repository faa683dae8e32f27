"""Conversions, read back by PyPI's rosbags and mcap."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from mcap.reader import make_reader
from rosbags.interfaces import ConnectionExtRosbag2, Qos
from rosbags.rosbag2 import Reader

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("TAPELOOP_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
TAPELOOP = Path(os.environ.get("TAPELOOP_BIN_DIR", REPOSITORY / "target" / "debug")) / "tapeloop"


def convert(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs tapeloop convert."""
    return subprocess.run([TAPELOOP, "convert", *arguments], capture_output=True, text=True, check=False)


def read(folder: Path) -> tuple[list[tuple[str, str, int, bytes]], dict[str, list[Qos]]]:
    """Returns the messages of a rosbag2 folder, and the QoS of its topics, as rosbags reads them."""
    with Reader(folder) as reader:
        messages = [
            (connection.topic, connection.msgtype, stamp, bytes(data)) for connection, stamp, data in reader.messages()
        ]
        qos: dict[str, list[Qos]] = {}
        for connection in reader.connections:
            assert isinstance(connection.ext, ConnectionExtRosbag2)
            qos[connection.topic] = connection.ext.offered_qos_profiles
    return messages, qos


def folders() -> list[Path]:
    """Returns the rosbag2 folders among the real recordings that rosbags reads too."""
    found = sorted(path.parent for path in DATA.glob("*/**/metadata.yaml"))
    readable = []
    for folder in found:
        try:
            messages, _ = read(folder)
        except Exception:  # Some fixtures are odd on purpose, and rosbags cannot read all of them.
            continue
        if messages:
            readable.append(folder)
    return readable


def test_rosbag2_folders_are_equal_in_rosbags(tmp_path: Path) -> None:
    """Every readable folder: equal messages, and the QoS that was offered."""
    if not DATA.exists():
        pytest.skip(f"there are no real recordings in {DATA} (set TAPELOOP_TEST_DATA)")
    checked = 0
    for number, folder in enumerate(folders()):
        out = tmp_path / f"{number}-rosbag2"
        done = convert(folder, "-o", out)
        if (
            "needs to know the type" in done.stderr
            or "in CDR only" in done.stderr
            or "one type under a name" in done.stderr
        ):
            continue
        assert done.returncode == 0, (folder, done.stderr)
        (theirs, their_qos), (ours, our_qos) = read(folder), read(out)
        assert sorted(ours, key=repr) == sorted(theirs, key=repr), folder
        assert [message[2] for message in ours] == sorted(message[2] for message in theirs), folder
        for topic, profiles in our_qos.items():
            assert profiles == their_qos[topic], (folder, topic)
        checked += 1
    assert checked >= 3


def test_files_are_merged_and_recompressed_without_changing_a_byte(tmp_path: Path) -> None:
    """Two real recordings of different times in one file."""
    files = [DATA / "mcap/g1/g1_ros2_mcap.mcap", DATA / "mcap/comma2k19/comma2k19_ros2_mcap.mcap"]
    if not all(file.exists() for file in files):
        pytest.skip(f"there are no real recordings in {DATA} (set TAPELOOP_TEST_DATA)")
    out = tmp_path / "both.mcap"
    done = convert(*files, "-o", out, "--compression", "lz4")
    assert done.returncode == 0, done.stderr

    def messages(path: Path) -> list[tuple[int, str, int, bytes]]:
        with path.open("rb") as file:
            return [(m.log_time, c.topic, m.publish_time, m.data) for _, c, m in make_reader(file).iter_messages()]

    merged = messages(out)
    assert [message[0] for message in merged] == sorted(message[0] for message in merged)
    assert sorted(merged) == sorted(messages(files[0]) + messages(files[1]))
