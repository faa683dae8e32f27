"""What the extension module holds; use it through :mod:`tapeloop`."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from os import PathLike
from pathlib import Path
from types import GenericAlias, TracebackType
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar, final, overload

import numpy as np
import pandas as pd  # type: ignore[import-untyped]

__all__ = [
    "Clip",
    "CompressedImage",
    "Frame",
    "Frames",
    "Keep",
    "Message",
    "Messages",
    "Recorder",
    "Recording",
    "Schema",
    "Table",
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
_Array: TypeAlias = np.ndarray[Any, Any]
_Form: TypeAlias = Literal["rgb", "bgr", "gray", "native"]
_T = TypeVar("_T")

class _Qos(TypedDict, total=False):
    history: Literal["keep_last", "keep_all", "system_default", "unknown"]
    depth: int
    reliability: Literal["reliable", "best_effort", "system_default", "unknown"]
    durability: Literal["volatile", "transient_local", "system_default", "unknown"]

class _Latency(TypedDict):
    count: int
    min_ns: int
    median_ns: int
    p95_ns: int
    max_ns: int

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
    def frames(
        self,
        topics: _Topics | None = None,
        *,
        start: _Time | None = None,
        end: _Time | None = None,
        format: _Form = "rgb",
    ) -> Frames:
        """Iterates over the pictures of cameras as numpy arrays: see :meth:`Recording.frames`."""
    def align(
        self,
        *,
        hz: float,
        topics: _Topics | None = None,
        columns: Iterable[str] | dict[str, list[str] | None] | None = None,
        time: str = "log_time",
        method: Literal["previous", "nearest", "linear"] = "previous",
        max_age: _Duration | None = None,
        start: _Time | None = None,
        end: _Time | None = None,
    ) -> Table:
        """Puts fields of many topics onto one regular grid of time: see :meth:`Recording.align`."""
    def info(self) -> _Json:
        """Returns counts of messages and bytes per topic, the span and the losses. Reads all of it."""
    @property
    def losses(self) -> list[_Json]:
        """What is missing, of which topic, when and why. Reads all of it."""
    def __getitem__(self, topic: str, /) -> TopicView: ...
    def __contains__(self, topic: str, /) -> bool: ...
    def __iter__(self) -> Messages[Message]: ...

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
    def format(self) -> str:
        """What it is: ``mcap``, ``bag``, ``db3``, ``ulog``, ``lerobot``, ``rosbag2``, ``recording`` or ``tape``."""
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

        Raises:
            NotFoundError: A topic that is asked for by name is not there. A pattern may match nothing.
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
    def frames(
        self,
        topics: _Topics | None = None,
        *,
        start: _Time | None = None,
        end: _Time | None = None,
        format: _Form = "rgb",
    ) -> Frames:
        """Iterates over the pictures of cameras as numpy arrays, in the order of their log times.

        A picture is a ``sensor_msgs`` ``Image`` or ``CompressedImage`` of ROS 1 or ROS 2, a Foxglove ``RawImage``,
        ``CompressedImage`` or ``CompressedVideo``, or any other message that is made like one of these. JPEG, PNG,
        ``compressedDepth`` and raw pixels are unpacked here; other files by Pillow and video (H.264, H.265, AV1, VP9)
        by PyAV, where those are installed: ``pip install 'tapeloop[video]'``.

        Args:
            topics: Topic patterns; every topic with pictures unless they are given.
            start: The first log time. Video is unpacked from 10 s before, to find a key frame.
            end: The log time behind the last.
            format: ``rgb`` or ``bgr``: HxWx3 ``uint8``; ``gray``: HxW ``uint8``; ``native``: as the message has it.
                Bayer mosaics are interpolated (bilinear), YUV is taken as ITU-R 601 in video range. Depth (``16UC1``,
                ``32FC1``, and all but 8 bits of the ``…C…`` encodings) has no colour: it comes as it is in any format.

        Raises:
            NotFoundError: Topics are given, and none of them has pictures; the message names those that have.
            InvalidError: An encoding is not known, or the package that unpacks it is not installed.
        """
    def align(
        self,
        *,
        hz: float,
        topics: _Topics | None = None,
        columns: Iterable[str] | dict[str, list[str] | None] | None = None,
        time: str = "log_time",
        method: Literal["previous", "nearest", "linear"] = "previous",
        max_age: _Duration | None = None,
        start: _Time | None = None,
        end: _Time | None = None,
    ) -> Table:
        """Puts fields of many topics onto one regular grid of time: a column ``_time``, and ``<topic>.<field>`` each.

        A moment before a topic's first value is null, except with ``nearest``. The values of latched topics hold until
        there is another, whatever their age.

        Args:
            hz: How many rows per second.
            topics: Topic patterns, of which every signal is taken: numbers, booleans, text, and lists of numbers, but
                no pixels and nothing of the header. All topics that can be decoded unless they are given.
            columns: ``["/imu.angular_velocity.x", …]``, or ``{"/imu": ["angular_velocity.x"], "/odom": None}``, where
                ``None`` means every signal.
            time: Which time of messages counts: ``log_time``, when they were recorded; ``header.stamp``, when they were
                measured; or the name of a topic of ``rosgraph_msgs/Clock``, e.g. ``/clock``: what its last message
                before them says, in steps. Messages without such a time are left out, but latched values from before
                the clock hold from its start. ``start`` and ``end`` are of the same time.
            method: ``previous``: the last value at or before the moment; ``nearest``: the nearest one; ``linear``:
                numbers on the line between the two around it (integers become floats, lists of equal lengths are
                interpolated by element; anything else is the previous value), null behind the last one.
            max_age: How far away a value may be; any distance unless it is given.
            start: The first moment; the first time of any of the topics unless it is given.
            end: The grid ends before it; with the last time of any of the topics unless it is given.

        Raises:
            NotFoundError: There is no such topic or field; the message names the nearest.

        Warns:
            UserWarning: Messages cannot be decoded: how many, and why. They are left out, and in ``losses``.
        """
    def __getitem__(self, topic: str, /) -> TopicView: ...
    def __contains__(self, topic: str, /) -> bool: ...
    def __iter__(self) -> Messages[Message]: ...

@final
class TopicView:
    """One topic of a recording: iterates over its messages, and its length is their number.

    Example:
        >>> imu = tl.open("drive.mcap")["/imu"]  # doctest: +SKIP
        >>> imu.to_pandas(columns=["angular_velocity.x"])  # doctest: +SKIP
    """

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
    @property
    def fields(self) -> dict[str, str]:
        """The fields of its messages (``angular_velocity.x``) and their types, in the order of the definition.

        Of JSON that no schema describes they are those of its first messages.

        Raises:
            InvalidError: Its type is not known; the message says what is missing.
        """
    def to_arrow(
        self,
        columns: str | Iterable[str] | None = None,
        *,
        start: _Time | None = None,
        end: _Time | None = None,
    ) -> Table:
        """Returns its messages as Arrow columns: ``_time``, ``_publish_time``, ``_stamp``, then the fields.

        Nothing is read before somebody takes the rows, and then batch by batch: ``pyarrow.table(x)``,
        ``polars.DataFrame(x)``, or a query of DuckDB on ``x``.

        Args:
            columns: Paths of fields (``angular_velocity.x``, ``position[0]``); each becomes a column of that name. All
                fields, as nested columns, unless they are given.
            start: The first log time.
            end: The log time behind the last.

        Returns:
            A table. What could not be decoded is in its ``losses``, complete once all rows were read.

        Raises:
            NotFoundError: There is no such field; the message names the nearest.
            InvalidError: Its type is not known; the message says what is missing.
        """
    def to_pandas(
        self,
        columns: str | Iterable[str] | None = None,
        *,
        start: _Time | None = None,
        end: _Time | None = None,
    ) -> pd.DataFrame:
        """Returns its messages as a pandas ``DataFrame``.

        The columns ``_time``, ``_publish_time`` and ``_stamp`` (UTC) come first, then every field, structs as their
        parts (``angular_velocity.x``). Lists of numbers are numpy arrays, other lists are lists. What could not be read
        or decoded is in ``frame.attrs["losses"]``.

        Args:
            columns: As in :meth:`to_arrow`.
            start: The first log time.
            end: The log time behind the last.

        Warns:
            UserWarning: Messages cannot be decoded: how many, and why. They are left out.
        """
    def to_numpy(self, column: str, *, start: _Time | None = None, end: _Time | None = None) -> _Array:
        """Returns one field of its messages as a numpy array, without copying it where that is possible.

        Lists of as many numbers in each message become a matrix, times (``_time``) ``datetime64[ns]``. Integers with
        nulls among them become floats with NaN.

        Args:
            column: The path of a field, or ``_time``, ``_publish_time``, ``_stamp``.
            start: The first log time.
            end: The log time behind the last.

        Raises:
            NotFoundError: There is no such field; the message names the nearest.
            InvalidError: It has parts; the message names them.

        Warns:
            UserWarning: Messages cannot be decoded: how many, and why. They are left out.
        """
    def frames(self, *, start: _Time | None = None, end: _Time | None = None, format: _Form = "rgb") -> Frames:
        """Iterates over its pictures as numpy arrays: see :meth:`Recording.frames`."""
    def latency(self) -> _Latency | None:
        """Returns how late its messages are: log time minus the header's stamp, in nanoseconds.

        Percentiles are the nearest rank. ``None`` where no message has a stamp; a stamp of 0 is none.
        """
    def __iter__(self) -> Messages[Message]: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...

@final
class Table:
    """Columns with times, for whoever takes Arrow: made by :meth:`TopicView.to_arrow` and :meth:`Recording.align`.

    Example:
        >>> pyarrow.table(rec["/imu"].to_arrow())  # doctest: +SKIP
    """

    @property
    def columns(self) -> list[str]:
        """The names of its columns."""
    @property
    def losses(self) -> list[_Json]:
        """What could not be read or decoded when its rows were last taken; complete once all of them were."""
    def to_pandas(self) -> pd.DataFrame:
        """Returns a pandas ``DataFrame``: see :meth:`TopicView.to_pandas`."""
    def to_numpy(self, column: str) -> _Array:
        """Returns one column as a numpy array: see :meth:`TopicView.to_numpy`."""
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...

@final
class Frames(Iterator[Frame]):
    """Iterates over pictures."""

    @property
    def losses(self) -> list[_Json]:
        """Which pictures are damaged, as far as the iteration has come: those are left out."""
    def __iter__(self) -> Frames: ...
    def __next__(self) -> Frame: ...

@final
class Frame:
    """One picture. ``numpy.asarray(frame)`` is ``frame.pixels``."""

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
    def stamp(self) -> int | None:
        """When it was taken, as its message says; ns UTC."""
    @property
    def frame_id(self) -> str:
        """The coordinate frame that it was taken in."""
    @property
    def encoding(self) -> str:
        """How the message has it, e.g. ``bgr8``, ``jpeg`` or ``h264``."""
    @property
    def pixels(self) -> _Array:
        """Its pixels."""
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> _Array: ...

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
        """The payload, decoded when this is first read: a dict, whose keys are in the order of the definition.

        Numbers with names are numbers, lists of unsigned bytes are ``bytes``, and what a message lacks is ``None``. The
        images of ``sensor_msgs`` and the ``std_msgs/msg/…MultiArray`` that this package writes are numpy arrays where
        they can be unpacked, and else dicts. JSON is what it says, and the encoding ``x-bytes`` is bytes.

        Raises:
            InvalidError: Its type is not known (the message says what is missing), or numpy would be needed.
            CorruptError: It is not what its encoding says.
        """
    @property
    def fields(self) -> Any:
        """The payload as a dict, also of images and arrays: their header, their encoding, their bytes.

        What has no fields is what its :attr:`value` is.

        Raises:
            InvalidError: Its type is not known; the message says what is missing.
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
