from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcap.reader import make_reader

# `python -m pytest` in this folder would import the sources, which have no extension module: the wheel is tested.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parents[1]]

import tapeloop as tl  # noqa: E402

# One buffer of 10 minutes; segments, and with them recordings, are complete after a second and not after ten.
QUICK = """
[segment]
age = "1 s"
[[buffer]]
name = "all"
disk = "10 min"
"""


@dataclass
class Foreign:
    """A message as the `mcap` package reads it."""

    topic: str
    log_time: int
    publish_time: int
    data: bytes
    encoding: str
    metadata: dict[str, str]
    schema_name: str
    schema_encoding: str
    schema_data: bytes

    @property
    def value(self) -> Any:
        return json.loads(self.data)

    @property
    def schema(self) -> Any:
        return json.loads(self.schema_data)


@pytest.fixture
def rec(tmp_path: Path) -> Iterator[tl.Recorder]:
    """A recorder with a tape of its own."""
    with tl.recorder("rover-7", data=tmp_path / "tape", config=QUICK) as recorder:
        yield recorder


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., list[Foreign]]:
    """Returns what was recorded so far, as another program reads it."""

    def read(rec: tl.Recorder, topic: str | None = None) -> list[Foreign]:
        path = tmp_path / "exported.mcap"
        rec.save(before="1 h", after=0).export(path)
        return foreign(path, topic)

    return read


def foreign(path: Path, topic: str | None = None) -> list[Foreign]:
    """Reads an MCAP file with the `mcap` package."""
    messages = []
    with path.open("rb") as file:
        for schema, channel, message in make_reader(file, validate_crcs=True).iter_messages():
            messages.append(
                Foreign(
                    channel.topic,
                    message.log_time,
                    message.publish_time,
                    message.data,
                    channel.message_encoding,
                    channel.metadata,
                    schema.name if schema else "",
                    schema.encoding if schema else "",
                    schema.data if schema else b"",
                )
            )
    return [message for message in messages if topic in (None, message.topic)]
