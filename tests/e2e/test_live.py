"""What is recorded is seen while it happens: `tapeloop tail` and `top`, Foxglove's protocol, the page, expectations."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tapeloop as tl
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PROGRAM = Path(os.environ.get("TAPELOOP_BIN_DIR", TARGET / "debug")) / "tapeloop"
PATIENCE_SECONDS = 30


class Agent:
    """A running agent with ports of its own."""

    def __init__(self, folder: Path, config: str = "", *arguments: str) -> None:
        self.folder = folder
        (folder / "tapeloop.toml").write_text('device = "rover-7"\n' + config)
        self.environment = {
            **os.environ,
            "TAPELOOP_SOCKET": str(folder / "agent.sock"),
            "TAPELOOP_DATA": str(folder / "tape"),
            "TAPELOOP_HTTP": "0",
            "TAPELOOP_FOXGLOVE": "0",
        }
        self.process = subprocess.Popen(
            [PROGRAM, "record", folder / "tapeloop.toml", *arguments],
            cwd=folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert "listens at" in self.process.stdout.readline()
        self.about = self.status()["agent"]

    def run(self, *arguments: str) -> str:
        """Runs a command that must end well."""
        done = subprocess.run(
            [PROGRAM, *arguments], env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def status(self) -> dict[str, Any]:
        """Returns how it is doing."""
        return json.loads(self.run("status", "--json"))

    def recorder(self) -> tl.Recorder:
        """Returns a connection to it."""
        return tl.recorder("rover-7", socket=self.folder / "agent.sock")

    def get(self, path: str) -> Any:
        """Returns the body of a page."""
        with urllib.request.urlopen(f"http://{self.about['http']}{path}", timeout=PATIENCE_SECONDS) as answer:
            return answer.read()

    def viewer(self, subprotocol: str = "foxglove.websocket.v1", **options: Any) -> Viewer:
        """Returns a viewer that looks at it."""
        address = f"ws://{self.about['foxglove']}/"
        return Viewer(connect(address, subprotocols=[Subprotocol(subprotocol)], max_size=None, **options))

    def stop(self) -> int:
        """Stops it as systemd does and returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def end(self) -> int:
        """Waits until it ends by itself and returns its exit code."""
        try:
            _, self.complaints = self.process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            self.process.kill()
        return self.process.returncode


class Viewer:
    """A program that speaks Foxglove's protocol, as its description says."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.channels: dict[str, dict[str, Any]] = {}
        self.services: dict[str, dict[str, Any]] = {}
        self.topics: dict[int, str] = {}
        self.messages: list[tuple[str, int, bytes]] = []
        self.answers: dict[int, Any] = {}
        self.parameters: dict[str, Any] = {}
        self.statuses: list[dict[str, Any]] = []
        self.server: dict[str, Any] = {}

    def hear(self) -> None:
        """Takes one message of the server."""
        said = self.socket.recv(timeout=PATIENCE_SECONDS)
        if isinstance(said, bytes):
            kind, first = struct.unpack_from("<BI", said)
            if kind == 1:
                (log_time,) = struct.unpack_from("<Q", said, 5)
                self.messages.append((self.topics[first], log_time, said[13:]))
            elif kind == 3:
                call, length = struct.unpack_from("<II", said, 5)
                assert said[13 : 13 + length] == b"json"
                self.answers[call] = json.loads(said[13 + length :])
            return
        told = json.loads(said)
        match told["op"]:
            case "serverInfo":
                self.server = told
            case "advertise":
                self.channels |= {channel["topic"]: channel for channel in told["channels"]}
            case "advertiseServices":
                self.services |= {service["name"]: service for service in told["services"]}
            case "serviceCallFailure":
                self.answers[told["callId"]] = told["message"]
            case "parameterValues":
                self.parameters |= {parameter["name"]: parameter["value"] for parameter in told["parameters"]}
            case "status":
                self.statuses.append(told)

    def until_known(self, *topics: str) -> None:
        """Waits until it was told of topics."""
        while not all(topic in self.channels for topic in topics):
            self.hear()

    def subscribe(self, *topics: str) -> None:
        """Subscribes to topics."""
        self.until_known(*topics)
        wanted = []
        for topic in topics:
            subscription = len(self.topics) + 1
            self.topics[subscription] = topic
            wanted.append({"id": subscription, "channelId": self.channels[topic]["id"]})
        self.socket.send(json.dumps({"op": "subscribe", "subscriptions": wanted}))

    def heard(self, count: int) -> list[tuple[str, int, bytes]]:
        """Returns the next messages."""
        while len(self.messages) < count:
            self.hear()
        some, self.messages = self.messages[:count], self.messages[count:]
        return some

    def call(self, name: str, request: object) -> Any:
        """Calls a service, and returns its answer, or why it failed."""
        while name not in self.services:
            self.hear()
        call = len(self.answers) + 1
        head = struct.pack("<BIII", 2, self.services[name]["id"], call, 4)
        self.socket.send(head + b"json" + json.dumps(request).encode())
        while call not in self.answers:
            self.hear()
        return self.answers[call]


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder whose path is short enough for a socket."""
    return tmp_path_factory.mktemp("l")


@pytest.fixture
def agent(folder: Path) -> Iterator[Agent]:
    """Runs an agent."""
    agent = Agent(folder)
    try:
        yield agent
        assert agent.stop() == 0, agent.complaints
    finally:
        agent.process.kill()


def log_bytes(recorder: tl.Recorder, topic: str, payload: bytes, *, latched: bool = False) -> None:
    recorder.log(topic, payload, encoding="raw", latched=latched)


@pytest.mark.parametrize("subprotocol", ["foxglove.websocket.v1", "foxglove.sdk.v1"])
def test_a_viewer_sees_what_it_subscribes_to_and_latched_values_first(agent: Agent, subprotocol: str) -> None:
    with agent.recorder() as recorder:
        log_bytes(recorder, "/map", b"old", latched=True)
        log_bytes(recorder, "/map", b"new", latched=True)
        recorder.log("/imu", {"x": 0})
        recorder.flush()
        viewer = agent.viewer(subprotocol)
        assert viewer.socket.subprotocol == subprotocol
        viewer.subscribe("/map")
        assert [(topic, payload) for topic, _, payload in viewer.heard(1)] == [("/map", b"new")]
        assert "rover-7" in viewer.server["name"] and set(viewer.server["capabilities"]) == {"services", "parameters"}
        schema = viewer.channels["/imu"]
        assert (schema["encoding"], schema["schemaEncoding"]) == ("json", "jsonschema")
        assert json.loads(schema["schema"])["properties"]["x"]
        payload = bytes(range(256)) * 20_000
        log_bytes(recorder, "/not/wanted", b"x")
        log_bytes(recorder, "/map", payload, latched=True)
        recorder.flush()
        assert viewer.heard(1)[0][2] == payload
        # A topic that is opened later is told of as well.
        viewer.subscribe("/not/wanted")
        viewer.call("/tapeloop/event", {"kind": "note", "message": "seen"})
        log_bytes(recorder, "/not/wanted", b"y")
        recorder.flush()
        assert viewer.heard(1)[0][2] == b"y"
        viewer.socket.close()
    events = agent.run("cat", str(agent.folder / "tape"), "--topic", "/tapeloop/events")
    assert '"seen"' in events


def test_a_viewer_keeps_the_past(agent: Agent) -> None:
    with agent.recorder() as recorder:
        for i in range(100):
            recorder.log("/imu", {"x": i})
        recorder.flush()
        viewer = agent.viewer()
        saved = viewer.call("/tapeloop/save", {"before": "1 h", "topics": ["/imu"], "why": "seen in Foxglove"})
        assert saved["kept"] and saved["why"] == "seen in Foxglove"
        (listed,) = json.loads(agent.run("ls", "--json"))
        assert listed["recording"] == saved["recording"]
        assert agent.run("cat", saved["recording"], "--topic", "/imu").count("\n") == 100
        assert viewer.call("/tapeloop/keep_start", {"name": "run-1"})["state"] == "keeping"
        assert "run-1" in viewer.call("/tapeloop/keep_start", {"name": "run-1"})
        assert viewer.call("/tapeloop/keep_stop", {"name": "run-1"})["name"] == "run-1"
        assert "unknown field" in viewer.call("/tapeloop/save", {"befor": 1})
        assert viewer.call("/tapeloop/save", {})["recording"]
        viewer.socket.send(json.dumps({"op": "getParameters", "parameterNames": ["tapeloop.device"], "id": "1"}))
        while "tapeloop.device" not in viewer.parameters:
            viewer.hear()
        assert viewer.parameters == {"tapeloop.device": "rover-7"}
        viewer.socket.close()


def test_a_stalled_viewer_slows_and_loses_nothing_of_the_tape(agent: Agent) -> None:
    frame = os.urandom(1 << 20)
    with agent.recorder() as recorder:
        camera = recorder.topic("/camera", encoding="raw")
        camera.log(frame)
        recorder.flush()
        # Its window stays full: it reads nothing but what is asked for here.
        stalled, good = agent.viewer(max_queue=1), agent.viewer()
        stalled.subscribe("/camera")
        good.subscribe("/camera")
        good.call("/tapeloop/event", {"kind": "note"})
        before = resident_bytes(agent.process.pid)
        for _ in range(300):
            camera.log(frame)
        recorder.flush()
        grown = resident_bytes(agent.process.pid) - before
        # It comes behind what waits already.
        log_bytes(recorder, "/end", b"end", latched=True)
        recorder.flush()
        good.subscribe("/end")
        while good.heard(1)[0][0] != "/end":
            pass
        status = agent.status()
        assert status["lost_messages"] == 0
        # Neither viewer has read anything so far: of 300 MiB for each, 32 MiB wait.
        assert grown < 200 << 20, grown
        # Now it reads: what was left out is told, and the newest comes.
        while not any("left out" in status["message"] for status in stalled.statuses):
            stalled.hear()
        good.socket.close()
        stalled.socket.close()
    assert agent.stop() == 0
    info = json.loads(agent.run("info", str(agent.folder / "tape"), "--json"))
    assert next(topic["messages"] for topic in info["topics"] if topic["topic"] == "/camera") == 301


def resident_bytes(pid: int) -> int:
    """Returns how much memory a process has."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024


def test_pages_of_elsewhere_and_other_protocols_are_kept_out(agent: Agent, folder: Path) -> None:
    for options in ({"origin": "https://evil.example"}, {"subprotocol": "foxglove.sdk.v9"}):
        with pytest.raises(InvalidStatus):
            agent.viewer(**options)
    agent.viewer(origin="http://localhost:3000").socket.close()
    garbage = agent.viewer()
    for said in ("{", '{"op":"subscribe"}', b"", b"\x02\xff", '{"op":"publish"}'):
        garbage.socket.send(said)
    garbage.until_known("/tapeloop/events")
    while len(garbage.statuses) < 5:
        garbage.hear()
    with pytest.raises(ConnectionClosed):
        garbage.socket.send("x" * (2 << 20))
        while True:
            garbage.hear()
    # A port that is taken is no reason not to record.
    other = folder / "other"
    other.mkdir()
    second = Agent(other, f'[agent]\nfoxglove = "{agent.about["foxglove"]}"\n', "--foxglove", agent.about["foxglove"])
    assert second.about["foxglove"] is None
    assert "Foxglove is not served" in second.about["notes"][0]
    assert second.stop() == 0


def test_whoever_shows_the_token_may_look(folder: Path) -> None:
    agent = Agent(folder, '[agent]\nfoxglove_token = "secret"\n')
    with pytest.raises(InvalidStatus):
        agent.viewer()
    address = f"ws://{agent.about['foxglove']}/?token=secret"
    socket = connect(address, subprotocols=[Subprotocol("foxglove.sdk.v1")], origin=Origin("https://app.foxglove.dev"))
    viewer = Viewer(socket)
    viewer.until_known("/tapeloop/events")
    assert agent.stop() == 0
    with pytest.raises(ConnectionClosed):
        while True:
            viewer.hear()


def test_rates_and_gaps_of_topics_are_shown(agent: Agent) -> None:
    with agent.recorder() as recorder:
        for i in range(50):
            recorder.log("/imu", {"x": i}, log_time=1_700_000_000_000_000_000 + i * 20_000_000)
        recorder.log("/imu", {"x": 0}, log_time=1_700_000_002_000_000_000)
        recorder.flush()
        (imu,) = json.loads(agent.run("top", "/imu", "--once", "--json"))
        assert (imu["messages"], imu["longest_gap_ns"], imu["rate_hz"]) == (51, 1_020_000_000, 0)
        assert imu["longest_gap_end_ns"] == 1_700_000_002_000_000_000
        assert "/imu" in agent.run("top", "--once", "--sort", "rate")


def test_a_recording_for_a_while_fails_if_a_topic_is_missing(folder: Path) -> None:
    expected = '[[expect]]\nname = "sensors"\ntopics = ["/imu", "/gps"]\nrequired = true\ngrace = "100ms"\n'
    agent = Agent(folder, expected, "--for", "2s", "--strict")
    with agent.recorder() as recorder:
        recorder.log("/imu", {"x": 1})
        recorder.flush()
    assert agent.end() == 3
    assert "expectation 'sensors' (required) was not met 1 time; '/gps': it did not come" in agent.complaints
    events = agent.run("cat", str(folder / "tape"), "--topic", "/tapeloop/events", "--json")
    assert events.count('"expectation_violated"') == 1
    # Without --strict it says so as well, and fails nothing.
    again = Agent(folder, expected, "--for", "1s")
    assert again.end() == 0
    assert "was not met" in again.complaints


def test_the_page_shows_pictures_and_loads_nothing_from_elsewhere(agent: Agent) -> None:
    with agent.recorder() as recorder:
        recorder.log("/camera/front", np.full((48, 64, 3), 128, np.uint8), latched=True)
        recorder.log("/imu", {"x": 1})
        recorder.flush()
        with urllib.request.urlopen(f"http://{agent.about['http']}/", timeout=PATIENCE_SECONDS) as answer:
            policy = answer.headers["Content-Security-Policy"]
            page = answer.read().decode()
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert "http://" not in page and "https://" not in page and "<style" not in page and "style=" not in page
        for name, kind in (("page.js", "text/javascript"), ("page.css", "text/css")):
            with urllib.request.urlopen(f"http://{agent.about['http']}/{name}", timeout=PATIENCE_SECONDS) as answer:
                kinds = answer.headers.get_all("Content-Type")
            assert f"/{name}" in page
            assert kinds == [f"{kind}; charset=utf-8"]
        assert json.loads(agent.get("/pictures")) == ["/camera/front"]
        assert agent.get("/picture?topic=/camera/front").startswith(b"\xff\xd8")
        topics = {topic["topic"] for topic in json.loads(agent.get("/topics"))["topics"]}
        assert {"/camera/front", "/imu"} <= topics
        for path, code in (("/picture?topic=/imu", 400), ("/picture?topic=/none", 404), ("/picture", 400)):
            with pytest.raises(urllib.error.HTTPError) as error:
                agent.get(path)
            assert error.value.code == code
