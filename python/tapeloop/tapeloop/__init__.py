"""The flight recorder for robots.

Log every stream into an endless tape, and keep what matters after it happened::

    import tapeloop as tl

    rec = tl.recorder("rover-7")
    rec.log("/imu", {"ax": 0.1, "ay": 0.0})
    clip = rec.save(before="30 s", after="10 s", why="missed stop sign")
    for message in clip.wait().messages("/imu"):
        print(message.log_time, message.value)

Times are nanoseconds since 1970 UTC wherever they come out, and an ``int`` of nanoseconds, a ``datetime``, a
``numpy.datetime64`` or text (``"14:32:10"``, ``"10 min ago"``, RFC 3339) wherever they go in. Durations go in as
seconds, as text (``"30 s"``) or as a ``timedelta``. Errors are in :mod:`tapeloop.errors`.
"""

import atexit as _atexit
import os as _os
from importlib.metadata import version as _version

from . import _native, envs
from ._logging import LoggingHandler
from ._native import (
    Clip,
    CompressedImage,
    Frame,
    Frames,
    Keep,
    Message,
    Messages,
    Recorder,
    Recording,
    Schema,
    Table,
    Topic,
    TopicView,
    flush,
    global_recorder,
    init,
    keep,
    log,
    open,
    recorder,
    save,
    status,
)
from .errors import (
    ConflictError,
    CorruptError,
    DeniedError,
    Error,
    InternalError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)

__all__ = [
    "Clip",
    "CompressedImage",
    "ConflictError",
    "CorruptError",
    "DeniedError",
    "Error",
    "Frame",
    "Frames",
    "InternalError",
    "InvalidError",
    "Keep",
    "LoggingHandler",
    "Message",
    "Messages",
    "NotFoundError",
    "Recorder",
    "Recording",
    "Schema",
    "Table",
    "Topic",
    "TopicView",
    "UnavailableError",
    "envs",
    "flush",
    "global_recorder",
    "init",
    "keep",
    "log",
    "open",
    "recorder",
    "save",
    "status",
]

__version__ = _version("tapeloop")

# Recorders that are still open when the process ends are closed; a forked child leaves its parent's alone.
_atexit.register(_native.close_all)
_os.register_at_fork(after_in_child=_native.after_fork)
