"""Bags of rosbag2 through the command, compared with what sqlite3 finds in them, and with what rosbags wrote."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from mcap.reader import make_reader

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("TAPELOOP_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
TAPELOOP = Path(os.environ.get("TAPELOOP_BIN_DIR", REPOSITORY / "target" / "debug")) / "tapeloop"

Messages = Counter[tuple[str, int, bytes]]


def exported(bag: Path, out: Path) -> Messages:
    """Returns every message that tapeloop reads of a bag."""
    subprocess.run([TAPELOOP, "export", bag, "-o", out], check=True, capture_output=True)
    with out.open("rb") as file:
        return Counter((c.topic, m.log_time, m.data) for _, c, m in make_reader(file).iter_messages())


def stored(files: list[Path]) -> Messages:
    """Returns every message that sqlite3 finds in the files of a bag."""
    found: Messages = Counter()
    for file in files:
        with sqlite3.connect(f"file:{file}?immutable=1", uri=True) as db:
            query = "SELECT name, timestamp, data FROM messages JOIN topics ON topics.id = topic_id"
            found.update(db.execute(query).fetchall())
    return found


def bags() -> list[Path]:
    """Returns the folders that have SQLite files, or nothing where there are no real recordings."""
    return sorted({file.parent for file in (DATA / "ros2").rglob("*.db3")})


@pytest.mark.skipif(not bags(), reason=f"there are no recordings in {DATA} (set TAPELOOP_TEST_DATA)")
@pytest.mark.parametrize("bag", bags(), ids=lambda bag: bag.name)
def test_bags_hold_what_sqlite_finds(bag: Path, tmp_path: Path) -> None:
    """PyPI's rosbags reads nothing of some of these: sqlite3 is the judge."""
    assert exported(bag, tmp_path / "out.mcap") == stored(sorted(bag.glob("*.db3")))


@pytest.mark.parametrize("mode", ["NONE", "FILE", "MESSAGE"])
@pytest.mark.parametrize("storage", ["SQLITE3", "MCAP"])
@pytest.mark.parametrize("version", [8, 9])
def test_compressed_bags_hold_what_was_written(version: int, storage: str, mode: str, tmp_path: Path) -> None:
    """rosbags writes every version and compression that rosbag2 does."""
    rosbag2 = pytest.importorskip("rosbags.rosbag2", reason="rosbags is not installed")
    typesys = pytest.importorskip("rosbags.typesys")
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    text = store.types["std_msgs/msg/String"]
    expected: Messages = Counter()
    writer = rosbag2.Writer(tmp_path / "bag", version=version, storage_plugin=rosbag2.StoragePlugin[storage])
    if mode != "NONE":
        writer.set_compression(rosbag2.CompressionMode[mode], rosbag2.CompressionFormat.ZSTD)
    with writer:
        topics = [writer.add_connection(f"/topic{i}", text.__msgtype__, typestore=store) for i in range(3)]
        for i in range(500):
            topic, payload = topics[i % 3], bytes(store.serialize_cdr(text("x" * (i % 50)), text.__msgtype__))
            writer.write(topic, 1_700_000_000_000_000_000 + i, payload)
            expected[(topic.topic, 1_700_000_000_000_000_000 + i, payload)] += 1
    assert exported(tmp_path / "bag", tmp_path / "out.mcap") == expected
