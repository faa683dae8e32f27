"""The node that records from inside ROS, against a stand-in of rclpy."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import pytest

import tapeloop as tl
from tapeloop import ros2

Recorded = Callable[..., list[Any]]
HELLO = b"\x00\x01\x00\x00\x06\x00\x00\x00hello\x00"


class Reliability(Enum):
    RELIABLE = 1
    BEST_EFFORT = 2


class Durability(Enum):
    TRANSIENT_LOCAL = 1
    VOLATILE = 2


class History(Enum):
    KEEP_LAST = 1
    UNKNOWN = 3


@dataclass
class Profile:
    reliability: Reliability = Reliability.RELIABLE
    durability: Durability = Durability.VOLATILE
    depth: int = 10
    history: History = History.KEEP_LAST


@dataclass
class Publisher:
    topic_type: str
    qos_profile: Profile


@dataclass
class Logger:
    said: list[str] = field(default_factory=list)

    def warning(self, text: str) -> None:
        self.said.append(text)

    error = warning


class Node:
    """What of a node of rclpy is used."""

    def __init__(self) -> None:
        self.published: dict[str, list[Publisher]] = {}
        self.subscriptions: list[tuple[str, Profile, Callable[..., None]]] = []
        self.logger = Logger()
        self.broken: set[str] = set()

    def get_topic_names_and_types(self) -> list[tuple[str, list[str]]]:
        return [(topic, [publisher.topic_type for publisher in found]) for topic, found in self.published.items()]

    def get_publishers_info_by_topic(self, topic_name: str) -> list[Publisher]:
        return self.published[topic_name]

    def create_subscription(
        self, msg_type: Any, topic: str, callback: Callable[..., None], qos_profile: Any, *, raw: bool
    ) -> Any:
        assert raw and msg_type == "class"
        if topic in self.broken:
            raise RuntimeError("no type support")
        self.subscriptions.append((topic, qos_profile, callback))
        return self.subscriptions[-1]

    def destroy_subscription(self, subscription: Any) -> Any:
        self.subscriptions.remove(subscription)

    def get_logger(self) -> Logger:
        return self.logger

    def publish(self, topic: str, type_name: str = "std_msgs/msg/String", **profile: Any) -> None:
        self.published.setdefault(topic, []).append(Publisher(type_name, Profile(**profile)))

    def send(self, topic: str, data: bytes, **info: Any) -> None:
        for subscribed, _, callback in self.subscriptions:
            if subscribed != topic:
                continue
            # As rclpy chooses.
            try:
                inspect.signature(callback).bind(object())
                callback(data)
            except TypeError:
                callback(data, info)


def find_type(name: str) -> str:
    if name.startswith("my_msgs/"):
        raise ModuleNotFoundError("No module named 'my_msgs'")
    return "class"


def make_qos(depth: int, reliable: bool, durable: bool) -> Profile:
    return Profile(
        Reliability.RELIABLE if reliable else Reliability.BEST_EFFORT,
        Durability.TRANSIENT_LOCAL if durable else Durability.VOLATILE,
        depth,
    )


def bridge(node: Node, rec: tl.Recorder, *topics: str, hidden: bool = False, gives_info: bool = True) -> ros2.Bridge:
    return ros2.Bridge(
        node,
        rec,
        find_type=find_type,
        make_qos=make_qos,
        gives_info=gives_info,
        topics=topics or ["**"],
        hidden=hidden,
    )


def test_messages_are_recorded_as_they_are(rec: tl.Recorder, recorded: Recorded) -> None:
    node = Node()
    recording = bridge(node, rec)
    assert recording.look() == 0
    node.publish("/chatter")
    node.publish("/map", durability=Durability.TRANSIENT_LOCAL)
    assert recording.look() == 2 and recording.look() == 2
    node.send("/chatter", HELLO, source_timestamp=1_700_000_000_000_000_001)
    node.send("/map", HELLO)
    (message,) = recorded(rec, "/chatter")
    assert (message.data, message.publish_time) == (HELLO, 1_700_000_000_000_000_001)
    assert (message.schema_name, message.encoding) == ("std_msgs/msg/String", "cdr")
    (message,) = recorded(rec, "/map")
    assert "durability: 1" in message.metadata["offered_qos_profiles"]
    assert recording.lost == 0


def test_an_old_distribution_says_no_publish_time(rec: tl.Recorder, recorded: Recorded) -> None:
    node = Node()
    recording = bridge(node, rec, gives_info=False)
    node.publish("/chatter")
    recording.look()
    node.send("/chatter", HELLO, source_timestamp=5)
    (message,) = recorded(rec, "/chatter")
    assert (message.data, message.publish_time) == (HELLO, message.log_time)


def test_what_publishers_offer_is_recorded(rec: tl.Recorder, recorded: Recorded) -> None:
    node = Node()
    recording = bridge(node, rec)
    node.publish("/scan", reliability=Reliability.BEST_EFFORT, depth=5)
    node.publish("/imu", history=History.UNKNOWN, depth=0)
    recording.look()
    node.send("/scan", HELLO)
    node.send("/imu", HELLO)
    profiles = [recorded(rec, topic)[0].metadata["offered_qos_profiles"].split("\n")[:4] for topic in ("/scan", "/imu")]
    assert [line.split(": ")[1] for line in profiles[0]] == ["1", "5", "2", "2"]
    assert [line.split(": ")[1] for line in profiles[1]] == ["3", "0", "1", "2"]


def test_a_volatile_publisher_takes_no_last_values_for_longer_than_it_is_there() -> None:
    logged: list[tuple[bool, str]] = []

    class Log:
        def log(self, topic: str, value: Any, *, latched: bool, qos: dict[str, Any], **options: Any) -> None:
            logged.append((latched, qos["durability"]))

    node = Node()
    recording = ros2.Bridge(node, Log(), find_type=find_type, make_qos=make_qos, gives_info=True)

    def look() -> Durability:
        assert recording.look() == 1
        ((_, profile, _),) = node.subscriptions
        node.send("/map", HELLO)
        return profile.durability

    node.publish("/map", durability=Durability.TRANSIENT_LOCAL)
    assert look() is Durability.TRANSIENT_LOCAL and node.logger.said == []
    node.publish("/map")
    assert look() is Durability.VOLATILE
    (said,) = node.logger.said
    assert "/map" in said and "volatile" in said
    lasting, other = node.published["/map"]
    node.published["/map"] = [other]
    assert look() is Durability.VOLATILE
    node.published["/map"] = [lasting]
    assert look() is Durability.TRANSIENT_LOCAL and len(node.logger.said) == 1
    durabilities = ["transient_local", "transient_local", "volatile", "transient_local"]
    assert logged == [(True, durability) for durability in durabilities]


def test_the_weakest_publisher_decides_what_is_asked_for(rec: tl.Recorder) -> None:
    node = Node()
    recording = bridge(node, rec)
    node.publish("/imu")
    recording.look()
    assert node.subscriptions[0][1].reliability is Reliability.RELIABLE
    node.publish("/imu", reliability=Reliability.BEST_EFFORT)
    node.publish("/imu")
    assert recording.look() == 1
    ((_, profile, _),) = node.subscriptions
    assert (profile.reliability, profile.durability) == (Reliability.BEST_EFFORT, Durability.VOLATILE)


def test_topics_are_chosen_by_patterns(rec: tl.Recorder) -> None:
    node = Node()
    for topic in ("/a", "/a/b", "/a/b/c", "/x/b", "/_hidden", "/a/_action/status"):
        node.publish(topic)

    def taken(*topics: str, hidden: bool = False) -> list[str]:
        node.subscriptions.clear()
        bridge(node, rec, *topics, hidden=hidden).look()
        return [topic for topic, _, _ in node.subscriptions]

    assert taken() == ["/a", "/a/b", "/a/b/c", "/x/b"]
    assert taken("/a/*") == ["/a/b"]
    assert taken("/a/**") == ["/a", "/a/b", "/a/b/c"]
    assert taken("**", "!/a/**") == ["/x/b"]
    assert taken("!/a/b") == ["/a", "/a/b/c", "/x/b"]
    assert taken("/*/b") == ["/a/b", "/x/b"]
    assert len(taken(hidden=True)) == 6


def test_a_type_without_a_class_is_said_once(rec: tl.Recorder) -> None:
    node = Node()
    recording = bridge(node, rec)
    node.publish("/tank", "my_msgs/msg/Tank")
    assert recording.look() == 0 and recording.look() == 0
    (said,) = node.logger.said
    assert "/tank" in said and "my_msgs/msg/Tank" in said


def test_a_topic_that_cannot_be_subscribed_to_keeps_no_other_from_it(rec: tl.Recorder) -> None:
    node = Node()
    recording = bridge(node, rec)
    node.broken.add("/broken")
    node.publish("/broken")
    node.publish("/chatter")
    assert recording.look() == 1 and recording.look() == 1
    (said,) = node.logger.said
    assert "'/broken' cannot be subscribed to: std_msgs/msg/String: no type support" in said


def test_topics_beyond_the_limit_are_said(rec: tl.Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ros2, "_TOPIC_LIMIT", 2)
    node = Node()
    recording = bridge(node, rec)
    for topic in ("/a", "/b", "/c", "/d"):
        node.publish(topic)
    assert recording.look() == 2 and recording.look() == 2
    (said,) = node.logger.said
    assert "'/c'" in said and "2 topics" in said


def test_what_cannot_be_recorded_is_counted() -> None:
    class Full:
        def log(self, topic: str, value: Any, **options: Any) -> None:
            raise tl.UnavailableError(f"full: {topic}, {len(value)}, {len(options)}")

    node = Node()
    recording = ros2.Bridge(node, Full(), find_type=find_type, make_qos=make_qos, gives_info=True)
    node.publish("/chatter")
    recording.look()
    node.send("/chatter", HELLO)
    node.send("/chatter", HELLO)
    assert recording.lost == 2 and len(node.logger.said) == 1


def test_without_a_distribution_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "rclpy", None)
    assert ros2.main([]) == 1
    assert "source a ROS 2 distribution first" in capsys.readouterr().err


class ExternalShutdown(Exception):
    pass


@pytest.mark.parametrize(("ending", "is_full", "code"), [(KeyboardInterrupt, False, 0), (ExternalShutdown, True, 3)])
def test_the_program_spins_a_node(
    monkeypatch: pytest.MonkeyPatch, rec: tl.Recorder, ending: type[BaseException], is_full: bool, code: int
) -> None:
    node = Node()
    node.publish("/chatter")
    timers: list[float] = []

    def spin(_: Node) -> None:
        node.send("/chatter", HELLO, source_timestamp=7)
        raise ending

    vars(node)["create_timer"] = lambda period, _: timers.append(period)
    modules: dict[str, dict[str, Any]] = {
        "rclpy": {"init": lambda: None, "try_shutdown": lambda: None, "spin": spin, "create_node": lambda _: node},
        "rclpy.executors": {"ExternalShutdownException": ExternalShutdown},
        "rclpy.qos": {"QoSProfile": Profile, "ReliabilityPolicy": Reliability, "DurabilityPolicy": Durability},
        "rclpy.subscription": {"Subscription": types.SimpleNamespace(CallbackType=Enum)},
        "rosidl_runtime_py.utilities": {"get_message": find_type},
    }
    for name, members in modules.items():
        module = types.ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    logged: list[tuple[str, int]] = []

    class Recorder:
        def log(self, topic: str, value: Any, *, publish_time: int, **options: Any) -> None:
            if is_full:
                raise tl.UnavailableError("full")
            logged.append((topic, publish_time))
            rec.log(topic, value, publish_time=publish_time, **options)

        def close(self) -> None:
            rec.flush()

    monkeypatch.setattr(ros2._native, "recorder", Recorder)
    assert ros2.main(["--topics", "**", "--topics", "!/rosout"]) == code
    assert (logged, len(timers)) == ([] if is_full else [("/chatter", 7)], 1)
