"""Records ROS 2 topics from inside ROS: ``python -m tapeloop.ros2 --topics '**'``.

It is a node that subscribes to every topic there is, asks for what the publishers offer, and hands the messages over as
they are. Use it where the agent's own sources for DDS and Zenoh do not reach: another middleware, shared memory,
security. It needs ``rclpy`` of a sourced distribution. It was tested against a stand-in of ``rclpy`` only, not on a
real distribution.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from . import _native
from ._native import Recorder, Schema
from .errors import Error

# How often it looks for new topics, in seconds.
_LOOK_SECONDS = 1.0
# How many messages of a topic wait for it.
_DEPTH = 100
# How many topics it subscribes to.
_TOPIC_LIMIT = 5000
# Policies that a recording has a name for.
_HISTORIES = ("system_default", "keep_last", "keep_all")
_RELIABILITIES = ("system_default", "reliable", "best_effort")
_DURABILITIES = ("system_default", "transient_local", "volatile")


class _Endpoint(Protocol):
    """A publisher, as ``rclpy`` describes it."""

    topic_type: str
    qos_profile: Any


class _Node(Protocol):
    """What of ``rclpy.node.Node`` is used."""

    def get_topic_names_and_types(self) -> Sequence[tuple[str, Sequence[str]]]: ...
    def get_publishers_info_by_topic(self, topic_name: str) -> Sequence[_Endpoint]: ...
    def create_subscription(
        self, msg_type: Any, topic: str, callback: Callable[..., None], qos_profile: Any, *, raw: bool
    ) -> Any: ...
    def destroy_subscription(self, subscription: Any) -> Any: ...
    def get_logger(self) -> Any: ...


class _Log(Protocol):
    """What of :class:`tapeloop.Recorder` is used."""

    def log(
        self,
        topic: str,
        value: Any,
        *,
        schema: Schema,
        encoding: str,
        qos: Any,
        latched: bool,
        publish_time: int | None,
    ) -> None: ...


@dataclass
class _Stream:
    """A topic of one type."""

    topic: str
    type_name: str
    # What its strongest publisher offers, as it is recorded, and whether one ever offered last values to late readers.
    qos: dict[str, Any] = field(default_factory=dict)
    latched: bool = False
    # What was asked for last: whether reliable, and whether last values.
    asked: tuple[bool, bool] | None = None
    subscription: Any = None


class Bridge:
    """Subscribes to what is published, and logs it.

    Args:
        node: The node that subscribes.
        recorder: Where messages go.
        find_type: Returns the class of a type by its name, or raises.
        make_qos: Makes a profile from ``depth``, ``reliable`` and ``transient_local``.
        gives_info: Whether ``rclpy`` gives what it knows of a message to callbacks that take two arguments.
        topics: Patterns; ``**`` stands for everything, ``!`` in front leaves out.
        hidden: Whether topics are recorded that ROS hides.
    """

    def __init__(
        self,
        node: _Node,
        recorder: _Log,
        *,
        find_type: Callable[[str], Any],
        make_qos: Callable[[int, bool, bool], Any],
        gives_info: bool,
        topics: Iterable[str] = ("**",),
        hidden: bool = False,
    ) -> None:
        """Begins without subscriptions; :meth:`look` makes them."""
        self._node = node
        self._recorder = recorder
        self._find_type = find_type
        self._make_qos = make_qos
        self._gives_info = gives_info
        patterns = list(topics)
        self._wanted = [pattern for pattern in patterns if not pattern.startswith("!")] or ["**"]
        self._unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
        self._hidden = hidden
        self._streams: dict[tuple[str, str], _Stream] = {}
        self._is_full = False
        self.lost = 0

    def look(self) -> int:
        """Subscribes to what is new, as those who publish now offer; returns how many subscriptions there are."""
        for topic, _ in self._node.get_topic_names_and_types():
            if self._takes(topic):
                offers: dict[str, list[Any]] = {}
                for endpoint in self._node.get_publishers_info_by_topic(topic):
                    offers.setdefault(endpoint.topic_type, []).append(endpoint.qos_profile)
                for type_name, profiles in offers.items():
                    self._meet(topic, type_name, profiles)
        return sum(stream.subscription is not None for stream in self._streams.values())

    def _takes(self, topic: str) -> bool:
        if not self._hidden and any(part.startswith("_") for part in topic.split("/")):
            return False
        if any(_matches(topic, pattern) for pattern in self._unwanted):
            return False
        return any(_matches(topic, pattern) for pattern in self._wanted)

    def _meet(self, topic: str, type_name: str, profiles: Sequence[Any]) -> None:
        stream = self._streams.get((topic, type_name))
        if stream is None:
            if len(self._streams) >= _TOPIC_LIMIT:
                if not self._is_full:
                    self._warn(
                        f"'{topic}' and what comes after it is not recorded: there are {_TOPIC_LIMIT} topics already"
                    )
                self._is_full = True
                return
            stream = self._streams[topic, type_name] = _Stream(topic, type_name)
        strongest = max(profiles, key=lambda profile: (_is_durable(profile), _is_reliable(profile)))
        stream.qos, stream.latched = _recorded(strongest), stream.latched or _is_durable(strongest)
        # There is one subscription for all publishers of a topic, which asks for what the weakest of them offers, as a
        # reliable reader hears no best-effort writer: two would record the messages of the stronger ones twice.
        asked = (all(map(_is_reliable, profiles)), all(map(_is_durable, profiles)))
        if asked != stream.asked:
            self._ask(stream, *asked)

    def _ask(self, stream: _Stream, reliable: bool, durable: bool) -> None:
        """Subscribes, instead of what was asked for before."""
        before, stream.asked = stream.asked or (False, False), (reliable, durable)
        try:
            subscription = self._node.create_subscription(
                self._find_type(stream.type_name),
                stream.topic,
                self._callback(stream),
                self._make_qos(_DEPTH, reliable, durable),
                raw=True,
            )
        # A message package or a middleware that is broken raises anything; the other topics are recorded.
        except Exception as error:
            self._warn(f"'{stream.topic}' cannot be subscribed to: {stream.type_name}: {error}")
            return
        if stream.subscription is not None:
            self._node.destroy_subscription(stream.subscription)
        stream.subscription = subscription
        weaker = [(before[0] > reliable, "best-effort"), (before[1] > durable, "volatile")]
        lacks = " and ".join(name for is_weaker, name in weaker if is_weaker)
        if lacks:
            self._warn(f"a publisher of '{stream.topic}' is {lacks}: so is the subscription while it is there")

    def _callback(self, stream: _Stream) -> Callable[..., None]:
        # The definition is found by its name when the recording is read.
        schema = Schema(stream.type_name, "ros2msg", b"")

        def arrived(data: bytes, info: Any) -> None:
            published = info.get("source_timestamp") if isinstance(info, dict) else None
            try:
                self._recorder.log(
                    stream.topic,
                    data,
                    schema=schema,
                    encoding="cdr",
                    qos=stream.qos,
                    latched=stream.latched,
                    publish_time=published or None,
                )
            except Error as error:
                self.lost += 1
                if self.lost == 1:
                    self._node.get_logger().error(f"'{stream.topic}' could not be recorded: {error}")

        # `rclpy` gives one argument to whatever takes one.
        return arrived if self._gives_info else lambda data: arrived(data, None)

    def _warn(self, text: str) -> None:
        self._node.get_logger().warning(text)


def _is_reliable(profile: Any) -> bool:
    return _name(profile.reliability, _RELIABILITIES) == "reliable"


def _is_durable(profile: Any) -> bool:
    return _name(profile.durability, _DURABILITIES) == "transient_local"


def _recorded(profile: Any) -> dict[str, Any]:
    """Returns a profile of ``rclpy`` as the recorder takes it."""
    return {
        "history": _name(profile.history, _HISTORIES),
        "depth": profile.depth,
        "reliability": _name(profile.reliability, _RELIABILITIES),
        "durability": _name(profile.durability, _DURABILITIES),
    }


def _name(policy: Any, known: Sequence[str]) -> str:
    """Returns the name of a policy of ``rclpy``."""
    name = getattr(policy, "name", str(policy)).lower()
    return name if name in known else "unknown"


def _matches(topic: str, pattern: str) -> bool:
    """Returns whether a topic matches: ``*`` stays within a part of the name, ``**`` does not."""
    if pattern == "**":
        return True
    parts, wanted = topic.strip("/").split("/"), pattern.strip("/").split("/")
    return _parts_match(parts, wanted)


def _parts_match(parts: list[str], wanted: list[str]) -> bool:
    if not wanted:
        return not parts
    if wanted[0] == "**":
        return any(_parts_match(parts[skip:], wanted[1:]) for skip in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], wanted[0]) and _parts_match(parts[1:], wanted[1:])


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until the node is told to end. Returns the exit code: 3 if messages that came could not be recorded.

    Args:
        arguments: The command line; that of the process unless it is given.
    """
    parser = argparse.ArgumentParser(prog="python -m tapeloop.ros2", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--topics", action="append", metavar="PATTERN", help="what to record; !PATTERN leaves out")
    parser.add_argument("--hidden", action="store_true", help="record topics that ROS hides, too")
    parser.add_argument("--node", default="tapeloop", help="the name of the node")
    options = parser.parse_args(arguments)
    try:
        rclpy = importlib.import_module("rclpy")
        executors = importlib.import_module("rclpy.executors")
        qos = importlib.import_module("rclpy.qos")
        subscription = importlib.import_module("rclpy.subscription")
        types = importlib.import_module("rosidl_runtime_py.utilities")
    except ImportError as error:
        print(f"there is no rclpy: source a ROS 2 distribution first ({error})", file=sys.stderr)
        return 1

    def make_qos(depth: int, reliable: bool, durable: bool) -> Any:
        return qos.QoSProfile(
            depth=depth,
            reliability=qos.ReliabilityPolicy.RELIABLE if reliable else qos.ReliabilityPolicy.BEST_EFFORT,
            durability=qos.DurabilityPolicy.TRANSIENT_LOCAL if durable else qos.DurabilityPolicy.VOLATILE,
        )

    rclpy.init()
    recorder: Recorder = _native.recorder()
    try:
        node = rclpy.create_node(options.node)
        bridge = Bridge(
            node,
            recorder,
            find_type=types.get_message,
            make_qos=make_qos,
            # Old distributions have callbacks of one argument only.
            gives_info=hasattr(subscription.Subscription, "CallbackType"),
            topics=options.topics or ["**"],
            hidden=options.hidden,
        )
        # A signal ends it the one way or the other, depending on the distribution.
        with contextlib.suppress(KeyboardInterrupt, executors.ExternalShutdownException):
            bridge.look()
            node.create_timer(_LOOK_SECONDS, bridge.look)
            rclpy.spin(node)
    finally:
        recorder.close()
        rclpy.try_shutdown()
    if bridge.lost:
        print(f"{bridge.lost} messages could not be recorded", file=sys.stderr)
    return 3 if bridge.lost else 0


if __name__ == "__main__":
    sys.exit(main())
