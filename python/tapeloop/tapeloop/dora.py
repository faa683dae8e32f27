"""A node of dora that records its inputs: ``tapeloop-dora``, or ``python -m tapeloop.dora``.

In a dataflow, with queues that hold what comes while a disk is slow::

    nodes:
      - id: recorder
        path: tapeloop-dora
        args: --device rover-7
        inputs:
          image:
            source: camera/image
            queue_size: 100

An input is logged to the topic of what it comes from, here ``/camera/image``: its Arrow array as an IPC stream of one
column ``data``, in the message encoding ``arrow``, and what its node says of it, its metadata, as JSON on
``/camera/image/parameters``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ._native import Recorder, recorder
from .errors import Error, InvalidError, UnavailableError

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["main", "record"]

# What dora notes beside what a node says of a message.
_RESERVED = ("_wire_size", "__dora_")


def record(
    events: Iterable[Mapping[str, Any]], recorder: Recorder, *, sources: Mapping[str, str] | None = None
) -> tuple[int, int]:
    """Logs the inputs among a node's events until it is stopped. One that cannot be logged stops no other.

    Returns how many there were, and how many of them could not be logged as a whole.

    Args:
        events: A ``dora.Node``, or its events.
        recorder: Where to log.
        sources: What inputs come from, as ``node/output`` by the input's id: their topics. The ids themselves unless
        given.

    Raises:
        InvalidError: pyarrow is not installed.
    """
    arrow = _pyarrow()
    count = lost = 0
    for event in events:
        kind = event["type"]
        if kind == "STOP":
            break
        if kind == "INPUT":
            name: str = event["id"]
            count += 1
            try:
                _log(arrow, recorder, event, (sources or {}).get(name, name))
            except Error as error:
                lost += 1
                if lost == 1:
                    print(f"tapeloop-dora: a message of '{name}' could not be recorded: {error}", file=sys.stderr)
        elif kind == "ERROR":
            print(f"tapeloop-dora: {event.get('error')}", file=sys.stderr)
    return count, lost


def main(arguments: list[str] | None = None) -> int:
    """Runs the node: what ``tapeloop-dora`` does. Returns the exit code."""
    about = "A node of dora that records its inputs, into the agent of this machine or onto a tape."
    parser = argparse.ArgumentParser(prog="tapeloop-dora", description=about)
    parser.add_argument("--device", help="the robot's name")
    parser.add_argument("--data", help="record onto a tape of this process, in this folder")
    parser.add_argument("--keep", help="how much such a tape holds, e.g. '10 min' or '20 GB'")
    parser.add_argument("--config", help="the configuration of such a tape")
    parser.add_argument("--socket", help="record into the agent at this socket")
    options = parser.parse_args(arguments)
    try:
        _pyarrow()
        try:
            from dora import Node
        except ImportError as error:
            raise InvalidError("dora is not installed: pip install dora-rs") from error
        with recorder(
            options.device, data=options.data, keep=options.keep, config=options.config, socket=options.socket
        ) as opened:
            node = Node()
            print(f"tapeloop-dora: {opened.description}", file=sys.stderr)
            count, lost = record(node, opened, sources=_sources(node))
        print(f"tapeloop-dora: {count} messages" + (f", {lost} lost" if lost else ""), file=sys.stderr)
    except Error as error:
        print(f"tapeloop-dora: {error}", file=sys.stderr)
        return 1
    return 3 if lost else 0


def _log(arrow: ModuleType, recorder: Recorder, event: Mapping[str, Any], source: str) -> None:
    topic = "/" + source
    metadata = dict(event.get("metadata") or {})
    sent = _time(metadata.pop("timestamp", None))
    stream = arrow.BufferOutputStream()
    batch = arrow.RecordBatch.from_arrays([event["value"]], names=["data"])
    with arrow.ipc.new_stream(stream, batch.schema) as writer:
        writer.write_batch(batch)
    data = memoryview(stream.getvalue())
    _try_twice(lambda: recorder.log(topic, data, encoding="arrow", publish_time=sent))
    said = {name: _plain(value) for name, value in metadata.items() if not name.startswith(_RESERVED)}
    if said:
        _try_twice(lambda: recorder.log(f"{topic}/parameters", said, publish_time=sent))


def _try_twice(log: Callable[[], None]) -> None:
    try:
        log()
    except UnavailableError:
        # Maybe this was what the disk met with an earlier message, which is told once.
        log()


def _time(value: Any) -> Any:
    """Returns when a message was sent, if dora says so in a way that says where."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=timezone.utc)
    return None


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _sources(node: Any) -> dict[str, str]:
    """Returns what the inputs of a node come from, by their ids: ``node/output``."""
    inputs = node.node_config().get("inputs") or {}
    return {name: source["source"] if isinstance(source, dict) else source for name, source in inputs.items()}


def _pyarrow() -> ModuleType:
    try:
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.ipc  # type: ignore[import-untyped]
    except ImportError as error:
        raise InvalidError("recording dora's inputs needs pyarrow: pip install pyarrow") from error
    return pyarrow  # type: ignore[no-any-return]


if __name__ == "__main__":
    raise SystemExit(main())
