"""Reads one recording into columns, as a program would, and prints how long that took; one process per run."""

from __future__ import annotations

import argparse
import json
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


READERS: dict[str, Callable[[Path], int]] = {
    "husky-tapeloop": husky_tapeloop,
    "husky-rosbags": husky_rosbags,
    "ulog-tapeloop": ulog_tapeloop,
    "ulog-pyulog": ulog_pyulog,
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
