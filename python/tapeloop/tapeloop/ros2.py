"""Records ROS 2 topics from inside ROS: ``python -m tapeloop.ros2 --topics '**'``.

It is a node that subscribes to every topic there is, asks for what the publishers offer, and hands the messages over as
they are. Use it where the agent's own sources for DDS and Zenoh do not reach: another middleware, shared memory,
security. It needs ``rclpy`` of a sourced distribution. It was tested against a stand-in of ``rclpy`` only, not on a
real distribution.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
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


class Bridge:
    """Subscribes to what is published, and logs it.

    Args:
        node: The node that subscribes.
        recorder: Where messages go.
        find_type: Returns the class of a type by its name, or raises.
        make_qos: Makes a profile from ``depth``, ``reliable`` and ``transient_local``.
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
        topics: Iterable[str] = ("**",),
        hidden: bool = False,
    ) -> None:
        """Begins without subscriptions; :meth:`look` makes them."""
        self._node = node
        self._recorder = recorder
        self._find_type = find_type
        self._make_qos = make_qos
        patterns = list(topics)
        self._wanted = [pattern for pattern in patterns if not pattern.startswith("!")] or ["**"]
        self._unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
        self._hidden = hidden
        self._subscriptions: dict[tuple[str, str, bool, bool], Any] = {}
        self._unknown: set[str] = set()
        self.lost = 0

    def look(self) -> int:
        """Subscribes to what is new, and returns how many subscriptions there are."""
        for topic, _ in self._node.get_topic_names_and_types():
            if self._takes(topic):
                for endpoint in self._node.get_publishers_info_by_topic(topic):
                    self._meet(topic, endpoint)
        return len(self._subscriptions)

    def _takes(self, topic: str) -> bool:
        if not self._hidden and any(part.startswith("_") for part in topic.split("/")):
            return False
        if any(_matches(topic, pattern) for pattern in self._unwanted):
            return False
        return any(_matches(topic, pattern) for pattern in self._wanted)

    def _meet(self, topic: str, endpoint: _Endpoint) -> None:
        """Subscribes as a publisher offers: a reliable reader hears no best-effort writer, and so on."""
        reliable = _is(endpoint.qos_profile.reliability, "RELIABLE")
        durable = _is(endpoint.qos_profile.durability, "TRANSIENT_LOCAL")
        key = (topic, endpoint.topic_type, reliable, durable)
        if key in self._subscriptions or endpoint.topic_type in self._unknown:
            return
        # There is one subscription for all publishers of a topic, which asks for what the weakest of them offers: two
        # would record the messages of the stronger ones twice.
        known = next((known for known in self._subscriptions if known[:2] == key[:2]), None)
        if known is not None:
            if known[2] <= reliable and known[3] <= durable:
                return
            self._node.destroy_subscription(self._subscriptions.pop(known))
            reliable, durable = reliable and known[2], durable and known[3]
            key = (topic, endpoint.topic_type, reliable, durable)
        if len(self._subscriptions) >= _TOPIC_LIMIT:
            return
        try:
            message_class = self._find_type(endpoint.topic_type)
        except (ImportError, AttributeError, ValueError, LookupError) as error:
            self._unknown.add(endpoint.topic_type)
            self._node.get_logger().warning(f"'{topic}' is not recorded: {endpoint.topic_type}: {error}")
            return
        self._subscriptions[key] = self._node.create_subscription(
            message_class,
            topic,
            self._callback(topic, endpoint.topic_type, durable),
            self._make_qos(_DEPTH, reliable, durable),
            raw=True,
        )

    def _callback(self, topic: str, type_name: str, durable: bool) -> Callable[..., None]:
        # The definition is found by its name when the recording is read.
        schema = Schema(type_name, "ros2msg", b"")
        qos = {
            "history": "keep_last",
            "depth": _DEPTH,
            "reliability": "reliable",
            "durability": "transient_local" if durable else "volatile",
        }

        def arrived(data: bytes, info: Any = None) -> None:
            published = info.get("source_timestamp") if isinstance(info, dict) else None
            try:
                self._recorder.log(
                    topic, data, schema=schema, encoding="cdr", qos=qos, latched=durable, publish_time=published or None
                )
            except Error as error:
                self.lost += 1
                if self.lost == 1:
                    self._node.get_logger().error(f"'{topic}' could not be recorded: {error}")

        return arrived


def _is(policy: Any, name: str) -> bool:
    """Returns whether a policy of ``rclpy`` is the one of that name."""
    return getattr(policy, "name", str(policy)).upper() == name


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
    """Runs until the node is told to end.

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
        qos = importlib.import_module("rclpy.qos")
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
            topics=options.topics or ["**"],
            hidden=options.hidden,
        )
        bridge.look()
        node.create_timer(_LOOK_SECONDS, bridge.look)
        rclpy.spin(node)
    except KeyboardInterrupt:
        pass
    finally:
        recorder.close()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
