"""Reads one recording into columns, as a program would, and prints how long that took; one process per run."""

from __future__ import annotations

import argparse
import bz2
import json
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def husky_tapeloop(path: Path) -> int:
    """Returns the number of rows of all data frames."""
    import tapeloop as tl

    recording = tl.open(path)
    return sum(len(view.to_pandas()) for view in recording.topics.values())


def flat(value: Any, name: str, row: dict[str, Any]) -> None:
    """Puts the parts of a message into a row."""
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is None:
        row[name] = value
        return
    for field in fields:
        if field != "__msgtype__":
            flat(getattr(value, field), f"{name}.{field}" if name else field, row)


def husky_rosbags(path: Path) -> int:
    """Returns the number of rows of all data frames, decoded by rosbags."""
    import pandas as pd
    from rosbags.highlevel import AnyReader

    rows: dict[str, list[dict[str, Any]]] = {}
    with AnyReader([path]) as reader:
        for connection, log_time, data in reader.messages():
            row: dict[str, Any] = {"_time": log_time}
            flat(reader.deserialize(data, connection.msgtype), "", row)
            rows.setdefault(connection.topic, []).append(row)
    return sum(len(pd.DataFrame(part)) for part in rows.values())


def ulog_tapeloop(path: Path) -> int:
    """Returns the number of rows of all Arrow tables."""
    import pyarrow as pa
    import tapeloop as tl

    recording = tl.open(path)
    return sum(pa.table(view.to_arrow()).num_rows for view in recording.topics.values())


def ulog_pyulog(path: Path) -> int:
    """Returns the number of rows of all arrays of pyulog, as Arrow tables."""
    import pyarrow as pa
    from pyulog import ULog

    return sum(pa.table(part.data).num_rows for part in ULog(str(path)).data_list)


def husky_floor(path: Path) -> int:
    """Returns the number of bytes in the chunks: only unpacks them, which every reader has to."""
    data, at, size = path.read_bytes(), len("#ROSBAG V2.0\n"), 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        header, at = data[at + 4 : at + 4 + length], at + 4 + length
        (length,) = struct.unpack_from("<I", data, at)
        if b"compression=bz2" in header:
            size += len(bz2.decompress(data[at + 4 : at + 4 + length]))
        at += 4 + length
    return size


class Ready:
    """Something with columns in memory."""

    def __init__(self, table: Any) -> None:
        """Takes an Arrow table."""
        self.table = table

    def __arrow_c_stream__(self, schema: Any = None) -> Any:
        """Returns its columns, as a reader would that takes no time."""
        return self.table.__arrow_c_stream__(schema)


READY: list[Ready] = []


def ulog_floor(path: Path) -> int:
    """Returns the number of rows of all Arrow tables; after the first call it only hands them over."""
    import pyarrow as pa
    import tapeloop as tl

    if not READY:
        READY.extend(Ready(pa.table(view.to_arrow())) for view in tl.open(path).topics.values())
    return sum(pa.table(ready).num_rows for ready in READY)


READERS: dict[str, Callable[[Path], int]] = {
    "husky-tapeloop": husky_tapeloop,
    "husky-rosbags": husky_rosbags,
    "husky-floor": husky_floor,
    "ulog-tapeloop": ulog_tapeloop,
    "ulog-pyulog": ulog_pyulog,
    "ulog-floor": ulog_floor,
}


def main() -> None:
    """Runs one reader; what it imports is not measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("path", type=Path)
    parser.add_argument("--repeat", type=int, default=3, help="the best of so many counts")
    arguments = parser.parse_args()
    read = READERS[arguments.reader]
    messages = read(arguments.path)
    seconds = []
    for _ in range(arguments.repeat):
        start = time.perf_counter()
        read(arguments.path)
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": min(seconds), "messages": messages}))


if __name__ == "__main__":
    main()
