"""What the extension module holds; use it through :mod:`tapeloop`."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from os import PathLike
from pathlib import Path
from types import GenericAlias, TracebackType
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar, final, overload

import numpy as np

__all__ = [
    "Clip",
    "CompressedImage",
    "Keep",
    "Message",
    "Messages",
    "Recorder",
    "Recording",
    "Schema",
    "Topic",
    "TopicView",
    "after_fork",
    "close_all",
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

_Time: TypeAlias = int | str | datetime | np.datetime64
_Duration: TypeAlias = float | str | timedelta
_Path: TypeAlias = str | PathLike[str]
_Topics: TypeAlias = str | Iterable[str]
_Json: TypeAlias = dict[str, Any]
_T = TypeVar("_T")

class _Qos(TypedDict, total=False):
    history: Literal["keep_last", "keep_all", "system_default", "unknown"]
    depth: int
    reliability: Literal["reliable", "best_effort", "system_default", "unknown"]
    durability: Literal["volatile", "transient_local", "system_default", "unknown"]

@final
class Schema:
    """The definition of a message type, for payloads that a program encodes itself.

    Args:
        name: The type's name, e.g. ``sensor_msgs/msg/Imu``.
        encoding: How the definition is written, as MCAP calls it: ``ros2msg``, ``ros1msg``, ``protobuf``,
            ``flatbuffer``, ``jsonschema``, …
        data: The definition; text is stored as UTF-8.

    Example:
        >>> Schema("geometry.Point", "jsonschema", '{"type": "object"}')
        Schema(name="geometry.Point", encoding="jsonschema", data=<18 bytes>)
    """

    def __new__(cls, name: str, encoding: str, data: str | bytes | bytearray | memoryview) -> Schema: ...
    @property
    def name(self) -> str:
        """The type's name."""
    @property
    def encoding(self) -> str:
        """How the definition is written."""
    @property
    def data(self) -> bytes:
        """The definition."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class CompressedImage:
    """A JPEG, PNG, … image, logged as it is as ``sensor_msgs/msg/CompressedImage``.

    Args:
        data: The file's bytes.
        format: ``jpeg``, ``png``, ``webp``, …; recognised unless it is given.

    Raises:
        InvalidError: The format is not given and not recognised.
    """

    def __new__(cls, data: bytes, *, format: str | None = None) -> CompressedImage: ...
    @property
    def data(self) -> bytes:
        """The file's bytes."""
    @property
    def format(self) -> str:
        """The format."""

@final
class Recorder:
    """Records into the local agent, or onto a tape of its own: made by :func:`tapeloop.recorder`.

    It may be used from any thread. Close it, or use it as a context manager; one that is still open when the process
    ends is closed then: windows that end within 60 s are waited for (Ctrl-C cuts them short), later ones are cut short.
    """

    @property
    def description(self) -> str:
        """Which recorder this is: ``agent at <socket>`` or ``embedded tape in <folder>``."""
    @property
    def path(self) -> Path | None:
        """The folder of the tape, which :func:`tapeloop.open` reads; ``None`` if the agent does not say."""
    @property
    def closed(self) -> bool:
        """Whether it is closed, or belongs to the process that this one was forked from."""
    def log(
        self,
        topic: str,
        value: Any,
        *,
        log_time: _Time | None = None,
        publish_time: _Time | None = None,
        stamp: _Time | None = None,
        schema: Schema | None = None,
        encoding: str | None = None,
        latched: bool | None = None,
        qos: _Qos | None = None,
        publisher: str | None = None,
        frame_id: str | None = None,
    ) -> None:
        """Logs a value to a topic. Returning means accepted; :meth:`flush` means durable.

        What becomes of a value:

        - A dict, a dataclass or a named tuple: JSON, with a schema inferred from the first one. A number, a text, a
          bool, ``None``, a datetime or an enum alone becomes ``{"value": …}``, a list, tuple or set
          ``{"values": […]}``. JSON has no NaN and no infinity: they become ``null`` (log an array or bytes to keep
          them). Inside: bytes become base64, datetimes RFC 3339, timedeltas seconds, enums their value, numpy scalars
          and arrays numbers and lists, integer keys text. Another shape on the same topic is another schema there;
          after 64 of them one that permits everything. Integers and floats are the same shape, and so is ``None``
          where a field was known before.
        - A numpy array (or anything with ``__array__``) of ``uint8`` with shape HxW, HxWx1, HxWx3 (RGB) or HxWx4
          (RGBA), of ``uint16`` with shape HxW, or a PIL image: ``sensor_msgs/msg/Image`` in CDR. Any other array:
          ``std_msgs/msg/<T>MultiArray`` with its dimensions; bool becomes ``uint8``.
        - A :class:`CompressedImage`: ``sensor_msgs/msg/CompressedImage``.
        - ``bytes``, ``bytearray`` or ``memoryview``: as they are, with ``schema`` and ``encoding``; without both, in
          the encoding ``x-bytes``.

        Args:
            topic: The topic's name, like ``/imu``.
            value: What to log.
            log_time: When it was recorded; now unless it is given.
            publish_time: When it was published; the log time unless it is given.
            stamp: When it was measured: the stamp in an image's header; the publish time unless it is given.
            schema: The schema of bytes, or of a dict that is to have a given one.
            encoding: How bytes are encoded: ``cdr``, ``protobuf``, …; guessed from the schema where that is clear.
            latched: Whether the last value joins every recording. Holds for the topic from now on.
            qos: The topic's quality of service as in ROS 2, kept for ``ros2 bag play``: ``history``, ``depth``,
                ``reliability`` and ``durability``; ``transient_local`` means latched. Holds for the topic from now on.
            publisher: Who publishes; each publisher of a latched topic has a last value of its own.
            frame_id: The coordinate frame in an image's header.

        Raises:
            InvalidError: The value cannot be logged; the message names the place in it. Or a time is before 1970.
            UnavailableError: An earlier message could not be written (a full disk, a queue that stayed full), the agent
                went away, or the recorder is closed. This message was not taken then: it can be logged again, and
                never comes twice. The error of an earlier message is raised once.
            ConflictError: The recorder was opened before this process was forked.
        """
    def topic(
        self,
        name: str,
        *,
        schema: Schema | None = None,
        encoding: str | None = None,
        latched: bool | None = None,
        qos: _Qos | None = None,
        publisher: str | None = None,
        frame_id: str | None = None,
    ) -> Topic:
        """Returns a handle that logs to one topic: the fastest way, and the options need saying only once.

        Args:
            name: The topic's name.
            schema: As in :meth:`log`, for every message of the handle.
            encoding: As in :meth:`log`, for every message of the handle.
            latched: As in :meth:`log`.
            qos: As in :meth:`log`.
            publisher: As in :meth:`log`, for every message of the handle.
            frame_id: As in :meth:`log`, for every message of the handle.

        Raises:
            InvalidError: It is not a name for a topic.
        """
    def save(
        self,
        *,
        before: _Duration | None = None,
        after: _Duration | None = None,
        at: _Time | None = None,
        start: _Time | None = None,
        end: _Time | None = None,
        topics: _Topics | None = None,
        why: str | None = None,
        labels: dict[str, object] | None = None,
    ) -> Clip:
        """Keeps a span of the tape, and returns at once; what lies in the future is added as it comes.

        Args:
            before: How much before the moment.
            after: How much after the moment.
            at: The moment; now unless it is given.
            start: Where the span starts, instead of before, after and at.
            end: Where it ends; now unless it is given.
            topics: Topic patterns (``/camera/**``, ``!/camera/raw``); all unless they are given.
            why: Why, in your words.
            labels: Labels, kept as text.

        Returns:
            The clip; :meth:`Clip.wait` waits until it is complete.

        Raises:
            InvalidError: The span makes no sense.
            UnavailableError: The budget of kept bytes is used up, or the recorder is closed.

        Example:
            >>> clip = rec.save(before="30 s", topics=["/camera/**"], why="missed stop sign")
            >>> clip.why
            'missed stop sign'
        """
    def keep(
        self,
        name: str,
        *,
        before: _Duration | None = None,
        after: _Duration | None = None,
        topics: _Topics | None = None,
        why: str | None = None,
        labels: dict[str, object] | None = None,
    ) -> Keep:
        """Keeps everything from now on, until the ``with`` block ends or :meth:`Keep.stop` is called.

        Args:
            name: The name of the run; nothing else may be kept under it at the same time.
            before: How much before now.
            after: How much after the end.
            topics: Topic patterns; all unless they are given.
            why: Why, in your words.
            labels: Labels, kept as text.

        Raises:
            ConflictError: Something is being kept under that name.

        Example:
            >>> with rec.keep("run-12", before="10 s") as clip:
            ...     rec.log("/imu", {"ax": 0.1})
            >>> clip.name
            'run-12'
        """
    def recording(self, id: str) -> Clip:
        """Returns the recording with this id.

        Raises:
            NotFoundError: There is none.
        """
    def recordings(self) -> list[Clip]:
        """Returns every recording of the tape, the oldest first."""
    def flush(self) -> None:
        """Returns when everything logged so far is on the disk.

        Raises:
            UnavailableError: Something could not be written.
        """
    def status(self) -> _Json:
        """Returns the state of the recorder: buffers, rates, losses, ``durable_until_ns``, disk and clock."""
    def close(self, *, pending: Literal["wait", "cut", "resume"] = "wait") -> None:
        """Closes the recorder; everything accepted is on the disk then. A second time does nothing.

        An agent goes on without this program: only its own connection is closed.

        Args:
            pending: What to do about recordings of an embedded tape whose end lies in the future: ``wait`` for it,
                ``cut`` them short, or let the next opening of the tape ``resume`` them.

        Raises:
            UnavailableError: Something could not be written.
        """
    def __enter__(self) -> Recorder: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

@final
class Topic:
    """Logs to one topic of a recorder: made by :meth:`Recorder.topic`."""

    @property
    def name(self) -> str:
        """The topic's name."""
    def log(
        self,
        value: Any,
        *,
        log_time: _Time | None = None,
        publish_time: _Time | None = None,
        stamp: _Time | None = None,
    ) -> None:
        """Logs a value: see :meth:`Recorder.log`."""

@final
class Clip:
    """A kept span of the tape: returned by :meth:`Recorder.save` and :meth:`Recorder.keep`.

    It can be read at once, and says what is there at that moment.
    """

    @property
    def id(self) -> str:
        """The recording's id, unique for ever."""
    @property
    def name(self) -> str | None:
        """The name it was kept under."""
    @property
    def state(self) -> Literal["keeping", "completing", "complete", "cut_short"]:
        """How far it has come; the last two are final."""
    @property
    def report(self) -> _Json:
        """What was ``asked``, what was ``kept``, what is ``missing`` and why, and the ``segments`` that hold it."""
    @property
    def why(self) -> str | None:
        """Why it was kept."""
    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
    @property
    def start_ns(self) -> int:
        """Where its span starts; ns UTC."""
    @property
    def end_ns(self) -> int:
        """Where its span ends; ns UTC."""
    @property
    def path(self) -> Path:
        """Its manifest's file, which :func:`tapeloop.open` and ``tapeloop info`` read."""
    @property
    def topics(self) -> dict[str, TopicView]:
        """Its topics, by name."""
    def wait(self, timeout: _Duration | None = None) -> Clip:
        """Waits until nothing will be added any more, and returns the clip itself.

        Args:
            timeout: How long at most; for ever unless it is given.

        Raises:
            UnavailableError: It took longer.
        """
    def open(self) -> Recording:
        """Opens the recording for reading, as it is now."""
    @overload
    def messages(
        self,
        topics: _Topics | None = None,
        *,
        start: _Time | None = None,
        end: _Time | None = None,
        raw: Literal[False] = False,
    ) -> Messages[Message]: ...
    @overload
    def messages(
        self,
        topics: _Topics | None = None,
        *,
        start: _Time | None = None,
        end: _Time | None = None,
        raw: Literal[True],
    ) -> Messages[tuple[str, int, int, bytes]]:
        """Iterates over its messages in the order of their log times: see :meth:`Recording.messages`."""
    def export(
        self,
        path: _Path,
        *,
        topics: _Topics | None = None,
        start: _Time | None = None,
        end: _Time | None = None,
        compression: str = "zstd",
    ) -> _Json:
        """Writes a standalone MCAP file: see :meth:`Recording.export`."""
    def __getitem__(self, topic: str, /) -> TopicView: ...

@final
class Keep:
    """A span that is being kept: returned by :meth:`Recorder.keep`."""

    @property
    def clip(self) -> Clip:
        """The recording, as far as it has come."""
    @property
    def name(self) -> str:
        """The name it is kept under."""
    def stop(self, *, after: _Duration | None = None) -> Clip:
        """Ends it and returns its clip; a second time does nothing.

        Args:
            after: How much after now still belongs to it; what :meth:`Recorder.keep` was told unless it is given.
        """
    def __enter__(self) -> Clip: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

@final
class Recording:
    """Something recorded, opened for reading: made by :func:`tapeloop.open`."""

    @property
    def path(self) -> Path:
        """Where it is."""
    @property
    def format(self) -> Literal["mcap", "rosbag2", "recording", "tape"]:
        """What it is."""
    @property
    def topics(self) -> dict[str, TopicView]:
        """Its topics, by name."""
    @property
    def losses(self) -> list[_Json]:
        """What is missing, of which topic, when and why. Reads all of it the first time."""
    def info(self) -> _Json:
        """Returns counts of messages and bytes per topic, the span and the losses. Reads all of it the first time."""
    @overload
    def messages(
        self,
        topics: _Topics | None = None,
        *,
        start: _Time | None = None,
        end: _Time | None = None,
        raw: Literal[False] = False,
    ) -> Messages[Message]: ...
    @overload
    def messages(
        self,
        topics: _Topics | None = None,
        *,
        start: _Time | None = None,
        end: _Time | None = None,
        raw: Literal[True],
    ) -> Messages[tuple[str, int, int, bytes]]:
        """Iterates over messages in the order of their log times, each once and in the best quality there is.

        Args:
            topics: Topic patterns; all unless they are given.
            start: The first log time.
            end: The log time behind the last.
            raw: Whether to get plain tuples (topic, log time, publish time, payload) instead, which is faster.
        """
    def export(
        self,
        path: _Path,
        *,
        topics: _Topics | None = None,
        start: _Time | None = None,
        end: _Time | None = None,
        compression: str = "zstd",
    ) -> _Json:
        """Writes a standalone MCAP file: the last latched values first, every message exactly as it was recorded.

        Args:
            path: The file; it has its name only when it is complete.
            topics: Topic patterns; all unless they are given.
            start: The first log time.
            end: The log time behind the last.
            compression: ``none``, ``lz4``, ``zstd`` or ``zstd(1)`` to ``zstd(22)``.

        Returns:
            How many messages and bytes were written, and the losses.
        """
    def __getitem__(self, topic: str, /) -> TopicView: ...
    def __contains__(self, topic: str, /) -> bool: ...
    def __iter__(self) -> Messages[Message]: ...

@final
class TopicView:
    """One topic of a recording: iterates over its messages, and its length is their number."""

    @property
    def name(self) -> str:
        """The topic's name."""
    @property
    def type(self) -> str:
        """The name of its type; several with commas where its schema changed."""
    @property
    def encoding(self) -> str:
        """How its payloads are encoded."""
    @property
    def schemas(self) -> list[Schema]:
        """Its schemas; more than one where it changed."""
    @property
    def metadata(self) -> dict[str, str]:
        """What else is known of it, e.g. its ``offered_qos_profiles``."""
    @overload
    def messages(
        self,
        *,
        start: _Time | None = None,
        end: _Time | None = None,
        raw: Literal[False] = False,
    ) -> Messages[Message]: ...
    @overload
    def messages(
        self,
        *,
        start: _Time | None = None,
        end: _Time | None = None,
        raw: Literal[True],
    ) -> Messages[tuple[str, int, int, bytes]]:
        """Iterates over its messages in the order of their log times: see :meth:`Recording.messages`."""
    def __iter__(self) -> Messages[Message]: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...

@final
class Messages(Iterator[_T]):
    """Iterates over messages."""

    @property
    def losses(self) -> list[_Json]:
        """What of the asked messages cannot be read, as far as the iteration has come."""
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def __iter__(self) -> Messages[_T]: ...
    def __next__(self) -> _T: ...

@final
class Message:
    """One message."""

    @property
    def topic(self) -> str:
        """The topic's name."""
    @property
    def log_time(self) -> int:
        """When it was recorded; ns UTC."""
    @property
    def publish_time(self) -> int:
        """When it was published; ns UTC."""
    @property
    def sequence(self) -> int:
        """MCAP's sequence field."""
    @property
    def encoding(self) -> str:
        """How the payload is encoded."""
    @property
    def schema(self) -> Schema | None:
        """The definition of the payload, if there is one."""
    @property
    def type(self) -> str:
        """The name of the payload's type, or an empty text."""
    @property
    def data(self) -> bytes:
        """The payload."""
    @property
    def value(self) -> Any:
        """The payload, decoded when this is first read: JSON, and the images and arrays that this package writes.

        Raises:
            InvalidError: Nothing here decodes it, or numpy or Pillow would be needed.
            CorruptError: It is not what its encoding says.
        """

def recorder(
    device: str | None = None,
    *,
    data: _Path | None = None,
    keep: _Duration | None = None,
    config: _Path | dict[str, Any] | None = None,
    socket: _Path | None = None,
) -> Recorder:
    """Opens a recorder: the local agent if one answers, else a tape of this process in the default folder.

    Where no agent answers, one line on stderr says so, and where it records instead.

    Args:
        device: The robot's name; the host's unless it is given.
        data: Record onto a tape of this process in that folder, whether or not there is an agent.
        keep: How much such a tape holds: a duration (``"10 min"``) or a size (``"20 GB"``); the smaller of 20 GB and a
            tenth of the disk unless it is given.
        config: The configuration of such a tape: a file's path, TOML text or a dict.
        socket: Record into the agent at that socket, and nowhere else.

    Raises:
        InvalidError: The arguments contradict each other, or the configuration is wrong (the message names the line).
        ConflictError: Another process records into the folder.
        UnavailableError: No agent answers at the socket.

    Example:
        >>> with recorder("rover-7", data="tape", keep="10 min") as rec:
        ...     rec.log("/imu", {"ax": 0.1, "ay": 0.0})
    """

def open(path: _Path) -> Recording:
    """Opens a recording: an MCAP file, a folder of a ROS 2 bag, a clip's manifest, or a tape's folder.

    Args:
        path: Where it is.

    Raises:
        NotFoundError: There is nothing.
        InvalidError: It is no recording; the message says what it is.
    """

def init(
    device: str | None = None,
    *,
    data: _Path | None = None,
    keep: _Duration | None = None,
    config: _Path | dict[str, Any] | None = None,
    socket: _Path | None = None,
) -> Recorder:
    """Opens the global recorder with these arguments (see :func:`recorder`), closing the one before it."""

def global_recorder() -> Recorder:
    """Returns the global recorder, opening it as ``recorder()`` does if it is not open."""

def log(
    topic: str,
    value: Any,
    *,
    log_time: _Time | None = None,
    publish_time: _Time | None = None,
    stamp: _Time | None = None,
    schema: Schema | None = None,
    encoding: str | None = None,
    latched: bool | None = None,
    qos: _Qos | None = None,
    publisher: str | None = None,
    frame_id: str | None = None,
) -> None:
    """Logs a value with the global recorder: see :meth:`Recorder.log`."""

def save(
    *,
    before: _Duration | None = None,
    after: _Duration | None = None,
    at: _Time | None = None,
    start: _Time | None = None,
    end: _Time | None = None,
    topics: _Topics | None = None,
    why: str | None = None,
    labels: dict[str, object] | None = None,
) -> Clip:
    """Keeps a span of the global recorder's tape: see :meth:`Recorder.save`."""

def keep(
    name: str,
    *,
    before: _Duration | None = None,
    after: _Duration | None = None,
    topics: _Topics | None = None,
    why: str | None = None,
    labels: dict[str, object] | None = None,
) -> Keep:
    """Keeps everything from now on, on the global recorder's tape: see :meth:`Recorder.keep`."""

def flush() -> None:
    """Returns when everything that the global recorder accepted is on the disk: see :meth:`Recorder.flush`."""

def status() -> _Json:
    """Returns the state of the global recorder: see :meth:`Recorder.status`."""

def close_all() -> None:
    """Closes every open recorder: called at the end of the process."""

def after_fork() -> None:
    """Notes that this process is the child of a fork: called by Python there."""
