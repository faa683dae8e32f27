"""What nodes publish over DDS and Zenoh is on the tape, byte for byte; the nodes are stand-ins on loopback."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcap.reader import make_reader
from test_docs import PATIENCE_SECONDS, ROOT, Agent

for needed in ("cyclonedds", "zenoh"):
    pytest.importorskip(needed, reason=f"the stand-in for a robot needs {needed}, which is not installed here")

ROBOT = ROOT / "tests/e2e/ros2_robot.py"
STRING_HASH = "RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18"
STEP_SECONDS = 0.05
DATAGRAM_BYTES = 65_000


def until(what: str, true: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Waits until something is true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(STEP_SECONDS)


class Robot:
    """A stand-in whose publishers live until it is closed."""

    def __init__(
        self, domain: int, *publishers: dict[str, Any], program: Path = ROBOT, options: tuple[str, ...] = ()
    ) -> None:
        command = [sys.executable, program, "--domain", str(domain), *options, json.dumps(publishers)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def sent(self) -> list[dict[str, Any]]:
        """Returns what it sent, when it has sent everything."""
        assert self.process.stdout is not None
        sent = []
        for line in self.process.stdout:
            said = json.loads(line)
            if said.get("done") == "":
                return sent
            if "sha256" in said:
                sent.append(said)
        raise AssertionError("the robot ended early")

    def close(self) -> None:
        """Ends it as a node ends that is asked to."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """Ends it without a word to anybody."""
        self.process.kill()
        self.process.wait()


class Recorder:
    """An agent with a source of ROS 2 topics."""

    def __init__(self, folder: Path, config: str) -> None:
        self.folder = folder
        path = folder / "tapeloop.toml"
        path.write_text(config)
        self.agent = Agent(folder, path)

    def source(self) -> dict[str, Any]:
        """Returns what the status says of the source."""
        status = json.loads(self.agent.run("tapeloop", "status", "--json").stdout)
        (source,) = status["sources"]
        return source

    def until_messages(self, count: int) -> None:
        until(f"{count} messages: {self.source()}", lambda: self.source()["messages"] >= count)

    def save(self, name: str = "out") -> Path:
        """Saves everything, and returns it as one file; the programs say so where something is lost."""
        done = self.agent.run("tapeloop", "save", "--before", "5m", "--json", "--wait")
        assert done.returncode in (0, 3), done.stderr
        saved = json.loads(done.stdout)
        path = self.folder / f"{name}.mcap"
        recording = saved.get("recording") or saved["id"]
        done = self.agent.run("tapeloop", "export", recording, "-o", str(path))
        assert done.returncode in (0, 3), done.stderr
        return path

    def cat(self, path: Path, topic: str) -> list[Any]:
        """Returns the messages of a topic as the program prints them."""
        done = self.agent.run("tapeloop", "cat", str(path), "--topic", topic, "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["message"] for line in done.stdout.splitlines()]


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder whose path is short enough for a socket."""
    return tmp_path_factory.mktemp("r")


@pytest.fixture
def domain() -> int:
    """Returns a domain that nobody else is likely to use now."""
    return random.SystemRandom().randrange(20, 230)


@pytest.fixture
def record(folder: Path) -> Iterator[Callable[[str], Recorder]]:
    """Starts recorders, which end with the test."""
    recorders: list[Recorder] = []

    def start(config: str) -> Recorder:
        recorders.append(Recorder(folder, config))
        return recorders[-1]

    try:
        yield start
        for recorder in recorders:
            assert recorder.agent.stop() in (0, 3), "3: what a test let be lost"
    finally:
        for recorder in recorders:
            recorder.agent.process.kill()


def dds(domain: int, options: str = "") -> str:
    return f'[[source]]\nkind = "ros2-dds"\nname = "ros"\ndomain = {domain}\ninterfaces = ["127.0.0.1"]\n{options}'


def read(path: Path, topic: str) -> list[tuple[dict[str, str], Any, Any]]:
    """Returns the messages of a topic: their channel's metadata, their schema, and the message."""
    with path.open("rb") as file:
        messages = make_reader(file).iter_messages(topics=[topic])
        return [(channel.metadata, schema, message) for schema, channel, message in messages]


def assert_same(path: Path, sent: list[dict[str, Any]], topic: str) -> None:
    """Checks that a topic has what was sent, in its order, with the bytes and the times of the sender."""
    wanted = [(line["time_ns"], line["sha256"]) for line in sent if line["topic"] == topic]
    times = dict((sha256, time_ns) for time_ns, sha256 in wanted)
    lengths = {line["sha256"]: line["bytes"] for line in sent}
    found = []
    for _, _, message in read(path, topic):
        assert message.data[:2] == b"\x00\x01", "little-endian CDR"
        # DDS pads bodies to whole words.
        candidates = {len(message.data) - pad for pad in range(4)} & set(lengths.values())
        hashes = {hashlib.sha256(message.data[4:length]).hexdigest() for length in candidates}
        (found_hash,) = hashes & set(lengths)
        # Cyclone sends the time with the first part of a sample that has several, and RustDDS takes it from the last.
        is_in_parts = len(message.data) > DATAGRAM_BYTES and message.publish_time == message.log_time
        found.append((times.get(found_hash) if is_in_parts else message.publish_time, found_hash))
    assert found == wanted


def profile_of(metadata: dict[str, str]) -> dict[str, str]:
    """Returns the parts of a channel's quality of service that are words."""
    pairs = [line.strip(" -").split(": ", 1) for line in metadata["offered_qos_profiles"].splitlines()]
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def test_topics_of_every_quality_are_recorded_as_they_were_sent(record: Callable[[str], Recorder], domain: int) -> None:
    recorder = record(dds(domain))
    robot = Robot(
        domain,
        {"topic": "/chatter", "type": "String", "count": 50, "rate": 100, "hash": STRING_HASH},
        {"topic": "/robot/best_effort", "type": "String", "count": 50, "rate": 100, "reliable": False},
        {"topic": "/last", "type": "String", "count": 10, "rate": 20, "depth": 1, "durable": True},
        {"topic": "/camera", "type": "Image", "count": 20, "rate": 20, "size": 1_000_000},
        {"topic": "/tank", "type": "Tank", "count": 10, "rate": 20, "hash": "RIHS01_" + "0" * 64},
        {"topic": "/wheel", "type": "Wheel", "count": 1, "wait": False},
        {"topic": "/_hidden", "type": "String", "count": 1, "wait": False, "durable": True},
        {"topic": "/foreign", "dds_name": "foreign", "type": "String", "count": 1, "wait": False, "durable": True},
    )
    sent = robot.sent()
    topics = ["/chatter", "/robot/best_effort", "/last", "/camera", "/tank"]
    recorder.until_messages(sum(line["topic"] in topics for line in sent))
    path = recorder.save()
    for topic in topics:
        assert_same(path, sent, topic)
    assert not read(path, "/_hidden") and not read(path, "/foreign") and not read(path, "/hidden")
    # What has keys is not recorded, and that is said.
    assert (recorder.source()["lost"], recorder.source()["refused"]) == (0, 1)
    assert "5 topics of 5 publishers" in recorder.source()["note"]

    metadata, schema, _ = read(path, "/chatter")[0]
    assert (schema.name, schema.encoding) == ("std_msgs/msg/String", "ros2msg")
    assert "string data" in schema.data.decode()
    assert metadata["topic_type_hash"] == STRING_HASH
    assert profile_of(metadata)["reliability"] == "reliable"
    assert profile_of(metadata)["durability"] == "volatile"
    assert profile_of(read(path, "/robot/best_effort")[0][0])["reliability"] == "best_effort"
    assert profile_of(read(path, "/last")[0][0])["durability"] == "transient_local"
    assert recorder.cat(path, "/chatter")[49]["data"] == "hello 49"
    assert recorder.cat(path, "/camera")[3]["width"] == 1_000_000

    # A type that nothing defines is recorded with its name and its hash, and said once.
    metadata, schema, _ = read(path, "/tank")[0]
    assert (schema.name, schema.encoding, schema.data) == ("my_msgs/msg/Tank", "ros2msg", b"")
    assert metadata["topic_type_hash"] == "RIHS01_" + "0" * 64
    robot.close()


def test_what_was_published_before_the_recorder_came_is_there(record: Callable[[str], Recorder], domain: int) -> None:
    robot = Robot(domain, {"topic": "/tf_static", "type": "TFMessage", "count": 3, "wait": False, "durable": True})
    sent = robot.sent()
    recorder = record(dds(domain))
    recorder.until_messages(3)
    path = recorder.save()
    assert_same(path, sent, "/tf_static")
    frames = [message["transforms"][0]["child_frame_id"] for message in recorder.cat(path, "/tf_static")]
    assert frames == ["link_0", "link_1", "link_2"]
    robot.close()


def test_many_publishers_that_come_at_once_lose_nothing(record: Callable[[str], Recorder], domain: int) -> None:
    recorder = record(dds(domain))
    latched = {"topic": "/tf_static", "type": "TFMessage", "count": 1, "wait": False, "durable": True}
    first = Robot(domain, latched)
    first.sent()
    recorder.until_messages(1)
    # There is a reader of the topic: what they sent is here as soon as they are, and is the last that they send.
    others = Robot(domain, *[{**latched, "first": number} for number in range(1, 41)])
    others.sent()
    recorder.until_messages(41)
    found = recorder.cat(recorder.save(), "/tf_static")
    frames = sorted(message["transforms"][0]["child_frame_id"] for message in found)
    assert frames == sorted(f"link_{number}" for number in range(41))
    assert (recorder.source()["lost"], recorder.source()["refused"]) == (0, 0)
    first.close()
    others.close()


# What actions and parameters are told by, and whether ROS hides it.
TOLD = {"/fibonacci/_action/status": True, "/fibonacci/_action/feedback": True, "/parameter_events": False}


@pytest.mark.parametrize("hidden", [False, True])
def test_actions_parameters_and_services_are_recorded_when_they_are_asked_for(
    record: Callable[[str], Recorder], domain: int, hidden: bool
) -> None:
    recorder = record(dds(domain, "hidden = true\nservices = true\n" if hidden else ""))
    services = {
        "rq/add_two_intsRequest": "/add_two_ints/_request",
        "rr/add_two_intsReply": "/add_two_ints/_response",
        "rq/fibonacci/_action/send_goalRequest": "/fibonacci/_action/send_goal/_request",
    }
    names = {f"rt{topic}": topic for topic, is_hidden in TOLD.items() if hidden or not is_hidden}
    names |= services if hidden else {}
    robot = Robot(
        domain,
        *[
            {"topic": topic, "dds_name": dds_name, "type": "Tank", "count": 3, "wait": dds_name in names}
            for dds_name, topic in ({f"rt{topic}": topic for topic in TOLD} | services).items()
        ],
    )
    sent = robot.sent()
    recorder.until_messages(3 * len(names))
    path = recorder.save()
    for topic in names.values():
        assert_same(path, sent, topic)
        metadata, schema, _ = read(path, topic)[0]
        # Cyclone writes who asked in front of a service's messages.
        is_service = topic in services.values()
        assert metadata["ros2_type"] == "my_msgs/msg/Tank" if is_service else schema.name == "my_msgs/msg/Tank"
    assert sum(len(read(path, topic)) for topic in [*TOLD, *services.values()]) == 3 * len(names)
    robot.close()


def test_a_publisher_that_starts_anew_goes_on_in_its_channel(record: Callable[[str], Recorder], domain: int) -> None:
    recorder = record(dds(domain, 'topics = ["/map", "/chatter", "!/not/this"]\n'))
    publishers = (
        {"topic": "/map", "type": "String", "count": 1, "durable": True},
        {"topic": "/chatter", "type": "String", "count": 20, "rate": 100},
        {"topic": "/not/this", "type": "String", "count": 1, "wait": False},
    )
    first = Robot(domain, *publishers)
    sent = first.sent()
    recorder.until_messages(21)
    first.close()
    until("it is gone", lambda: " of 0 publishers" in recorder.source()["note"])
    second = Robot(domain, *publishers)
    sent += second.sent()
    recorder.until_messages(42)
    path = recorder.save()
    assert_same(path, sent, "/chatter")
    assert_same(path, sent, "/map")
    with path.open("rb") as file:
        summary = make_reader(file).get_summary()
    assert summary is not None
    topics = [channel.topic for channel in summary.channels.values() if channel.topic in ("/map", "/chatter")]
    assert sorted(topics) == ["/chatter", "/map"], "a channel each, whoever published"
    assert recorder.source()["lost"] == 0, "a new publisher counts from the start"
    second.kill()


def test_two_types_on_a_topic_are_two_channels(record: Callable[[str], Recorder], domain: int) -> None:
    recorder = record(dds(domain))
    one = Robot(domain, {"topic": "/mixed", "type": "String", "count": 5, "rate": 50})
    other = Robot(domain, {"topic": "/mixed", "type": "Tank", "count": 5, "rate": 50})
    one.sent()
    other.sent()
    recorder.until_messages(10)
    schemas = [schema.name for _, schema, _ in read(recorder.save(), "/mixed")]
    assert sorted(schemas) == ["my_msgs/msg/Tank"] * 5 + ["std_msgs/msg/String"] * 5
    one.close()
    other.close()


def test_definitions_come_from_a_folder_that_the_configuration_names(
    record: Callable[[str], Recorder], domain: int, folder: Path
) -> None:
    package = folder / "packages/my_msgs/msg"
    package.mkdir(parents=True)
    (package / "Tank.msg").write_text("float64 litres\nstring name\n")
    recorder = record(dds(domain, f'definitions = ["{folder / "packages"}"]\n'))
    robot = Robot(domain, {"topic": "/tank", "type": "Tank", "count": 3})
    sent = robot.sent()
    recorder.until_messages(3)
    path = recorder.save()
    assert_same(path, sent, "/tank")
    assert recorder.cat(path, "/tank")[2] == {"litres": 1.0, "name": "tank 2"}
    robot.close()


ZENOH_ROBOT = ROOT / "tests/e2e/ros2_zenoh_robot.py"


class Router:
    """A router of Zenoh on a port of its own."""

    def __init__(self, port: int = 0) -> None:
        if port == 0:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
        self.port = port
        self.endpoint = f"tcp/127.0.0.1:{port}"
        self.robot = Robot(0, program=ZENOH_ROBOT, options=("--router", "--endpoint", self.endpoint))
        self.robot.sent()


@pytest.fixture
def router() -> Iterator[Router]:
    router = Router()
    try:
        yield router
    finally:
        router.robot.kill()


def zenoh(domain: int, router: Router, options: str = "") -> str:
    return f'[[source]]\nkind = "ros2-zenoh"\nname = "ros"\ndomain = {domain}\nconnect = "{router.endpoint}"\n{options}'


def zenoh_robot(domain: int, router: Router, *publishers: dict[str, Any], options: tuple[str, ...] = ()) -> Robot:
    return Robot(domain, *publishers, program=ZENOH_ROBOT, options=("--endpoint", router.endpoint, *options))


def test_zenoh_topics_are_recorded_as_they_were_sent(
    record: Callable[[str], Recorder], domain: int, router: Router
) -> None:
    early = zenoh_robot(domain, router, {"topic": "/tf_static", "type": "TFMessage", "count": 3, "durable": True})
    sent = early.sent()
    recorder = record(zenoh(domain, router, 'topics = ["**", "!/not/**"]\n'))
    recorder.until_messages(3)
    robot = zenoh_robot(
        domain,
        router,
        {"topic": "/chatter", "type": "String", "count": 50, "rate": 200, "hash": STRING_HASH},
        {"topic": "/robot/old", "type": "String", "count": 20, "rate": 100, "labelled": True, "reliable": False},
        {"topic": "/camera", "type": "Image", "count": 10, "rate": 20, "size": 1_000_000},
        {"topic": "/tank", "type": "Tank", "count": 5, "token": False},
        {"topic": "/gaps", "type": "String", "count": 20, "missing": [3, 4, 9]},
        {"topic": "/_hidden", "type": "String", "count": 1, "wait": False},
        {"topic": "/not/this", "type": "String", "count": 1, "wait": False},
    )
    sent += robot.sent()
    topics = ["/tf_static", "/chatter", "/robot/old", "/camera", "/tank", "/gaps"]
    recorder.until_messages(sum(line["topic"] in topics for line in sent))
    until("the losses are told", lambda: recorder.source()["lost"] == 3)
    path = recorder.save()
    for topic in topics:
        assert_same(path, sent, topic)
    assert not read(path, "/_hidden") and not read(path, "/not/this")
    assert recorder.source()["refused"] == 0
    metadata, schema, _ = read(path, "/chatter")[0]
    assert (schema.name, metadata["topic_type_hash"]) == ("std_msgs/msg/String", STRING_HASH)
    assert (profile_of(metadata)["reliability"], profile_of(metadata)["depth"]) == ("reliable", "10")
    assert profile_of(read(path, "/robot/old")[0][0])["reliability"] == "best_effort"
    assert profile_of(read(path, "/tf_static")[0][0])["durability"] == "transient_local"
    metadata, schema, _ = read(path, "/tank")[0]
    assert (schema.name, schema.data) == ("my_msgs/msg/Tank", b"") and "topic_type_hash" not in metadata
    assert "offered_qos_profiles" not in metadata, "nobody said"
    assert recorder.cat(path, "/chatter")[49]["data"] == "hello 49"
    early.close()
    robot.close()


# The source of a type that no distribution knows, and its hash.
TANK = "float64 litres\nstring name\n"
TANK_HASH = "RIHS01_52c2289891b4c77a6a8a23bedabe29184380eae04eee37405b9ba9b77fa99710"


@pytest.mark.parametrize("middleware", ["dds", "zenoh"])
@pytest.mark.parametrize("is_right", [True, False])
def test_a_node_says_what_its_types_are_made_of(
    record: Callable[[str], Recorder], domain: int, router: Router, middleware: str, is_right: bool
) -> None:
    describe = ("--describe", json.dumps({"my_msgs/msg/Tank": TANK if is_right else "float32 litres\nstring name\n"}))
    publishers = (
        {"topic": "/tank", "type": "Tank", "count": 20, "rate": 50, "hash": TANK_HASH},
        # Its only message is here before the node was asked.
        {"topic": "/tank/latched", "type": "Tank", "count": 1, "hash": TANK_HASH, "durable": True, "wait": False},
    )
    recorder = record(dds(domain) if middleware == "dds" else zenoh(domain, router))
    robot = (
        Robot(domain, *publishers, options=describe)
        if middleware == "dds"
        else zenoh_robot(domain, router, *publishers, options=describe)
    )
    sent = robot.sent()
    recorder.until_messages(21)
    path = recorder.save()
    for topic in ("/tank", "/tank/latched"):
        assert_same(path, sent, topic)
        for metadata, schema, _ in read(path, topic):
            assert (schema.name, metadata["topic_type_hash"]) == ("my_msgs/msg/Tank", TANK_HASH)
            assert schema.data.decode().strip() == (TANK.strip() if is_right else "")
    assert recorder.source()["lost"] == 0
    if is_right:
        assert recorder.cat(path, "/tank")[19] == {"litres": 9.5, "name": "tank 19"}
        assert recorder.source()["refused"] == 0
    else:
        until("it is refused", lambda: recorder.source()["refused"] >= 1)
    robot.close()


def test_a_router_that_comes_back_is_found_again(record: Callable[[str], Recorder], domain: int) -> None:
    router = Router()
    recorder = record(zenoh(domain, router))
    robot = zenoh_robot(domain, router, {"topic": "/chatter", "type": "String", "count": 5})
    robot.sent()
    recorder.until_messages(5)
    router.robot.kill()
    robot.kill()
    until("it says so", lambda: "waits for the router" in recorder.source()["note"])
    router = Router(router.port)
    until("it is back", lambda: "by way of" in recorder.source()["note"])
    robot = zenoh_robot(domain, router, {"topic": "/chatter", "type": "String", "count": 5})
    robot.sent()
    recorder.until_messages(10)
    assert recorder.source()["failures"] == 0
    robot.close()
    router.robot.close()


def test_hidden_topics_of_zenoh_are_recorded_when_they_are_asked_for(
    record: Callable[[str], Recorder], domain: int, router: Router
) -> None:
    recorder = record(zenoh(domain, router, "hidden = true\n"))
    robot = zenoh_robot(domain, router, *[{"topic": topic, "type": "Tank", "count": 3} for topic in TOLD])
    sent = robot.sent()
    recorder.until_messages(3 * len(TOLD))
    path = recorder.save()
    for topic in TOLD:
        assert_same(path, sent, topic)
    robot.close()


def test_what_was_latched_while_the_router_was_away_is_fetched(record: Callable[[str], Recorder], domain: int) -> None:
    router = Router()
    recorder = record(zenoh(domain, router))
    robot = zenoh_robot(
        domain, router, {"topic": "/tf_static", "type": "TFMessage", "count": 10, "rate": 4, "durable": True}
    )
    recorder.until_messages(2)
    router.robot.kill()
    sent = robot.sent()
    heard = recorder.source()["messages"]
    assert heard < 10, "some were sent while it was away"
    router = Router(router.port)
    recorder.until_messages(10)
    assert_same(recorder.save(), sent, "/tf_static")
    assert (recorder.source()["messages"], recorder.source()["lost"]) == (10, 0)
    robot.close()
    router.robot.close()


def test_publishers_of_older_versions_are_let_go(record: Callable[[str], Recorder], domain: int) -> None:
    router = Router()
    recorder = record(zenoh(domain, router))
    # What their samples carry is not the hash of their token.
    older = {"topic": "/old", "type": "String", "count": 3, "labelled": True}
    robot = zenoh_robot(domain, router, older)
    robot.sent()
    recorder.until_messages(3)
    assert "1 topics of 1 publishers" in recorder.source()["note"]
    robot.close()
    until("it is let go", lambda: " of 0 publishers" in recorder.source()["note"])
    # One that dies while nobody can hear of it.
    robot = zenoh_robot(domain, router, older)
    robot.sent()
    recorder.until_messages(6)
    router.robot.kill()
    robot.kill()
    until("it says so", lambda: "waits for the router" in recorder.source()["note"])
    assert " of 1 publishers" in recorder.source()["note"], "it may come back"
    router = Router(router.port)
    until("it is let go too", lambda: " of 0 publishers" in recorder.source()["note"])
    assert recorder.source()["lost"] == 0
    router.robot.close()


def test_without_a_router_it_tries_again(record: Callable[[str], Recorder], domain: int) -> None:
    router = Router()
    router.robot.kill()
    recorder = record(zenoh(domain, router))
    until("it failed", lambda: recorder.source()["failures"] >= 1)
    assert "there is no router at" in recorder.source()["last_error"]
    router = Router(router.port)
    until("it is there", lambda: "by way of" in (recorder.source()["note"] or ""), seconds=60)
    router.robot.close()


def test_the_guide_records_a_robot_in_one_minute(folder: Path, domain: int) -> None:
    page = (ROOT / "docs/guide/sources.md").read_text()
    section = page.split("### A stock ROS 2 robot in one minute")[1].split("\n### ")[0]
    (config,) = re.findall(r"^```toml\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    (block,) = re.findall(r"^```console\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    commands = [shlex.split(line, comments=True)[1:] for line in block.splitlines()]
    assert commands.pop(0) == ["record", "tapeloop.toml"]
    # Another domain than that of whoever works here.
    (folder / "tapeloop.toml").write_text(
        config.replace("domain = 0 ", f'interfaces = ["127.0.0.1"]\ndomain = {domain} ')
    )
    agent = Agent(folder, folder / "tapeloop.toml")
    try:
        publishers = (
            {"topic": "/chatter", "type": "String", "count": 10, "rate": 50},
            {"topic": "/tf_static", "type": "TFMessage", "count": 1, "durable": True},
        )
        robot = Robot(domain, *publishers)
        robot.sent()
        until(
            "it has heard everything",
            lambda: json.loads(agent.run("tapeloop", "status", "--json").stdout)["sources"][0]["messages"] >= 11,
        )
        recording, printed = "", {}
        for command in commands:
            done = agent.run("tapeloop", *[recording if part == "RECORDING" else part for part in command])
            assert done.returncode == 0, f"{command}: {done.stderr}"
            printed[command[0]] = done.stdout
            if command[0] == "save":
                saved = agent.run("tapeloop", "ls", "--json").stdout
                recording = json.loads(saved)[0]["recording"]
        assert "hello 9" in printed["cat"]
        assert len(read(folder / "run.mcap", "/tf_static")) == 1
        robot.close()
        assert agent.stop() == 0
    finally:
        agent.process.kill()
