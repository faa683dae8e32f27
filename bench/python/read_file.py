"""Reads every message of an MCAP file, or of the rosbag2 folder it is in, with a peer; prints one JSON object."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def with_mcap(path: Path) -> tuple[int, int]:
    """Returns how many messages and bytes PyPI's mcap reads."""
    from mcap.reader import make_reader

    count = size = 0
    with path.open("rb") as file:
        for _, _, message in make_reader(file).iter_messages():
            count += 1
            size += len(message.data)
    return count, size


def with_rosbags(path: Path) -> tuple[int, int]:
    """Returns how many messages and bytes PyPI's rosbags reads."""
    from rosbags.rosbag2 import Reader

    count = size = 0
    with Reader(path.parent) as reader:
        for _, _, data in reader.messages():
            count += 1
            size += len(data)
    return count, size


def main() -> None:
    """Reads once."""
    peer, path = sys.argv[1], Path(sys.argv[2])
    start = time.perf_counter()
    count, size = {"mcap": with_mcap, "rosbags": with_rosbags}[peer](path)
    print(json.dumps({"messages": count, "bytes": size, "seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
