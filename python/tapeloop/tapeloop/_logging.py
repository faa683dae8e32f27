"""Python's ``logging`` as a topic like any other."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from typing import TYPE_CHECKING

from . import _native

if TYPE_CHECKING:
    from ._native import Recorder, Topic

# The JSON schema of `foxglove.Log`, so that viewers show the topic as a log.
_SCHEMA = """{
  "title": "foxglove.Log",
  "description": "A log message",
  "$comment": "https://docs.foxglove.dev/docs/visualization/message-schemas/log",
  "type": "object",
  "properties": {
    "timestamp": {
      "type": "object",
      "title": "time",
      "properties": {
        "sec": {"type": "integer", "minimum": 0},
        "nsec": {"type": "integer", "minimum": 0, "maximum": 999999999}
      },
      "description": "Timestamp of log message"
    },
    "level": {
      "title": "foxglove.LogLevel",
      "description": "Log level: 0 unknown, 1 debug, 2 info, 3 warning, 4 error, 5 fatal",
      "type": "integer"
    },
    "message": {"type": "string", "description": "Log message"},
    "name": {"type": "string", "description": "Process or node name"},
    "file": {"type": "string", "description": "Filename"},
    "line": {"type": "integer", "minimum": 0, "description": "Line number in the file"}
  }
}"""


class LoggingHandler(logging.Handler):
    """Writes log records to a topic, in the shape of ``foxglove.Log``.

    It never raises into the program: what cannot be recorded is counted in :attr:`lost`, and the first failure is
    written to stderr. Records that are logged while one is being written (by a handler of the recorder, or by the
    ``__str__`` of an argument) are not recorded.

    Args:
        rec: The recorder; the global one unless it is given, opened at the first record.
        topic: The topic's name.
        level: The lowest level that is recorded.

    Example:
        >>> import logging
        >>> logging.getLogger("robot").addHandler(LoggingHandler(rec, topic="/log"))
    """

    lost: int
    """How many records could not be recorded."""

    def __init__(self, rec: Recorder | None = None, topic: str = "/log", *, level: int | str = logging.NOTSET) -> None:
        """Makes a handler for a recorder's topic."""
        super().__init__(level)
        self.lost = 0
        self._recorder = rec
        self._name = topic
        self._owner: Recorder | None = None
        self._topic: Topic | None = None
        self._writing = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        if getattr(self._writing, "now", False):
            return
        self._writing.now = True
        try:
            self._write(record)
        except Exception as error:
            self._lose(error)
        finally:
            self._writing.now = False

    def _write(self, record: logging.LogRecord) -> None:
        if self._topic is None or (self._recorder is None and _native.global_recorder() is not self._owner):
            self._owner = self._recorder or _native.global_recorder()
            self._topic = self._owner.topic(self._name, schema=_native.Schema("foxglove.Log", "jsonschema", _SCHEMA))
        time_ns = int(record.created * 1e9)
        self._topic.log(
            {
                "timestamp": {"sec": time_ns // 1_000_000_000, "nsec": time_ns % 1_000_000_000},
                "level": _level(record.levelno),
                "message": self.format(record),
                "name": record.name,
                "file": record.pathname,
                "line": record.lineno,
            },
            publish_time=time_ns,
        )

    def _lose(self, error: Exception) -> None:
        self.lost += 1
        if self.lost == 1:
            # stderr may be closed, as in a daemon or at the end of the process: then there is nobody left to tell.
            with contextlib.suppress(Exception):
                sys.stderr.write(f"tapeloop: a log record was not recorded, nor may others be: {error}\n")


def _level(number: int) -> int:
    """Returns foxglove's number of a level."""
    if number >= logging.CRITICAL:
        return 5
    if number >= logging.ERROR:
        return 4
    if number >= logging.WARNING:
        return 3
    if number >= logging.INFO:
        return 2
    return 1 if number > logging.NOTSET else 0
