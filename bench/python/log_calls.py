"""One run of logging from Python: Tapeloop (its own tape, or the agent) or the Foxglove SDK. Prints one JSON object."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

# As many different messages as make sure that none repeats in one chunk.
DIFFERENT = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recorder", choices=["tapeloop", "agent", "foxglove"])
    parser.add_argument("kind", choices=["dict", "bytes"])
    parser.add_argument("--data", type=Path, required=True, help="a folder, or the agent's socket")
    parser.add_argument("--calls", type=int, default=300_000)
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--compression", choices=["zstd", "none"], default="zstd")
    arguments = parser.parse_args()
    messages = (dicts if arguments.kind == "dict" else payloads)(arguments.size)
    record = foxglove if arguments.recorder == "foxglove" else tapeloop
    print(json.dumps(record(arguments, messages)))


def dicts(_size: int) -> list[dict[str, Any]]:
    return [
        {"ax": 0.1 * i, "ay": 0.2, "az": 9.81 - i / 7, "gx": i / 3, "gy": -0.002, "gz": 1.5e-3 * i, "seq": i}
        for i in range(DIFFERENT)
    ]


def payloads(size: int) -> list[bytes]:
    half = size // 2
    return [os.urandom(half) + bytes(size - half) for _ in range(max(16, min(DIFFERENT, 64_000_000 // size)))]


def tapeloop(arguments: argparse.Namespace, messages: list[Any]) -> dict[str, float]:
    import tapeloop

    if arguments.recorder == "agent":
        recorder = tapeloop.recorder(socket=arguments.data)
    else:
        config = f"[[buffer]]\nname = 'all'\ndisk = '10 min'\ncompression = '{arguments.compression}'\n"
        recorder = tapeloop.recorder("bench", data=arguments.data, config=config)
    recorder.log("/bench", messages[0])
    recorder.flush()
    return timed(recorder.log, recorder.flush, arguments.calls, messages)


def foxglove(arguments: argparse.Namespace, messages: list[Any]) -> dict[str, float]:
    import foxglove
    from foxglove.mcap import MCAPCompression, MCAPWriteOptions

    compression = MCAPCompression.Zstd if arguments.compression == "zstd" else None
    arguments.data.mkdir()
    writer = foxglove.open_mcap(arguments.data / "peer.mcap", writer_options=MCAPWriteOptions(compression=compression))
    foxglove.log("/bench", messages[0])
    return timed(foxglove.log, writer.close, arguments.calls, messages)


def timed(log: Any, end: Any, calls: int, messages: list[Any]) -> dict[str, float]:
    """Logs, ends, and returns how long both took together: what was accepted is then on disk, or with the system."""
    count = len(messages)
    start, cpu = time.perf_counter(), time.process_time()
    for i in range(calls):
        log("/bench", messages[i % count])
    accepted = time.perf_counter() - start
    end()
    return {
        "calls": calls,
        "seconds": time.perf_counter() - start,
        "accepted_seconds": accepted,
        "cpu_seconds": time.process_time() - cpu,
    }


if __name__ == "__main__":
    main()
