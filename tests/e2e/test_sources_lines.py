"""Logs of programs and devices, messages of a broker, and files in a folder: from foreign senders onto the tape."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PROGRAMS = Path(os.environ.get("TAPELOOP_BIN_DIR", TARGET / "debug"))
DATA = Path(os.environ.get("TAPELOOP_TEST_DATA", ROOT.parent / "shared" / "data"))
PATIENCE_SECONDS = 60


def free_port() -> int:
    """Returns a port that nobody had a moment ago, over UDP neither."""
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        udp.bind(tcp.getsockname())
        return tcp.getsockname()[1]


def until(what: str, is_so: Callable[[], Any]) -> Any:
    """Asks until the answer is true; each question starts a process, which takes long enough to not be a busy loop."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if answer := is_so():
            return answer
    raise AssertionError(f"waited in vain until {what}")


class Place:
    """A folder with a tape, a configuration and an agent's socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tape = folder / "tape"
        self.agent: subprocess.Popen[str] | None = None
        self.environment = {
            **os.environ,
            "TAPELOOP_SOCKET": str(folder / "agent.sock"),
            "TAPELOOP_DATA": str(self.tape),
            "TAPELOOP_HTTP": "off",
            "TZ": "UTC",
        }

    def run(self, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs the program to its end."""
        command = [PROGRAMS / "tapeloop", *arguments]
        options = {"capture_output": True, "text": True, "timeout": 60, "check": False} | options
        return subprocess.run(command, cwd=self.folder, env=self.environment, **options)

    def start(self, config: str) -> None:
        """Starts an agent with a configuration."""
        path = self.folder / "tapeloop.toml"
        path.write_text(config)
        command = [PROGRAMS / "tapeloop", "record", path]
        self.agent = subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.agent.stdout is not None
        line = self.agent.stdout.readline()
        assert "listens at" in line, (line, self.agent.communicate())

    def stop(self) -> None:
        """Stops it as systemd does."""
        assert self.agent is not None
        self.agent.send_signal(signal.SIGTERM)
        assert self.agent.wait(PATIENCE_SECONDS) in (0, 3), "3: what a test let be lost"
        self.agent = None

    def source(self) -> dict[str, Any]:
        """Returns what status says of the only source."""
        done = self.run("status", "--json")
        assert done.returncode == 0, done.stderr
        (source,) = json.loads(done.stdout)["sources"]
        return source

    def messages(self, topic: str) -> list[dict[str, Any]]:
        """Returns the messages of a topic, with their times."""
        done = self.run("cat", self.tape, "--topic", topic, "--json")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Returns the recorder's events of a kind."""
        events = [message["message"] for message in self.messages("/tapeloop/events")]
        return [event for event in events if event["kind"] == kind]

    def losses(self) -> list[dict[str, Any]]:
        """Returns what is lost."""
        return json.loads(self.run("info", self.tape, "--json").stdout)["losses"]


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Returns a place whose path is short enough for a socket."""
    place = Place(tmp_path_factory.mktemp("s"))
    try:
        yield place
    finally:
        if place.agent is not None:
            place.agent.kill()
            place.agent.wait()


def texts(messages: list[dict[str, Any]]) -> list[str]:
    return [message["message"]["message"] for message in messages]


# --- syslog


def test_syslog_of_logger_and_of_python_is_recorded(place: Place) -> None:
    port, unix = free_port(), place.folder / "log.sock"
    place.start(f"[[source]]\nkind = 'syslog'\nlisten = '127.0.0.1:{port}'\npath = '{unix}'\ntimezone = 'UTC'\n")
    until("it listens", lambda: "udp" in (place.source()["note"] or ""))
    expected = 0
    if shutil.which("logger"):
        for transport in ("--udp", "--tcp"):
            for form in ("--rfc3164", "--rfc5424"):
                text = f"by logger {transport} {form}"
                options = ["--server", "127.0.0.1", "--port", str(port), transport, form, "--tag", "nav", "--id=42"]
                subprocess.run(["logger", *options, "--priority", "daemon.err", text], check=True)
                expected += 1
        octets = ["--tcp", "--octet-count", "--server", "127.0.0.1", "--port", str(port), "--tag", "nav"]
        subprocess.run(["logger", *octets, "counted"], check=True)
        subprocess.run(["logger", "--socket", str(unix), "--tag", "nav", "over a socket of its own"], check=True)
        expected += 2
    for address, kind in ((("127.0.0.1", port), socket.SOCK_DGRAM), (str(unix), socket.SOCK_DGRAM)):
        handler = logging.handlers.SysLogHandler(address, socktype=kind)
        handler.ident = "arm: "
        handler.emit(logging.LogRecord("arm", logging.WARNING, "", 0, "by Python", None, None))
        handler.close()
        expected += 1
    with socket.create_connection(("127.0.0.1", port)) as stream:
        stream.sendall(b'no priority at all\n<13>1 2026-01-02T03:04:05.5Z rover planner 7 ID47 [a@1 x="y"] dated\n')
    expected += 2
    until("all of it came", lambda: place.source()["messages"] == expected)
    assert place.source()["refused"] == 1
    place.stop()
    nav = place.messages("/logs/nav")
    if shutil.which("logger"):
        assert len(nav) == 6
        errors = [message["message"] for message in nav if message["message"]["message"].startswith("by logger")]
        assert all(error["level"] == 4 and error["attributes"]["facility"] == "daemon" for error in errors)
        assert all(error["attributes"]["pid"] == 42 for error in errors)
    assert texts(place.messages("/logs/arm")) == ["by Python", "by Python"]
    (planner,) = place.messages("/logs/planner")
    assert planner["message"]["attributes"]["data"] == {"a@1": {"x": "y"}}
    assert planner["publish_time"] == 1_767_323_045_500_000_000 != planner["log_time"]
    (odd,) = place.messages("/logs/syslog")
    assert odd["message"]["message"] == "no priority at all"


def test_a_port_that_is_open_to_others_says_who_may_send(place: Place) -> None:
    (place.folder / "open.toml").write_text("[[source]]\nkind = 'syslog'\nlisten = '0.0.0.0:5514'\n")
    done = place.run("record", "open.toml")
    assert done.returncode == 1
    assert "is open to other machines: say which ones with allow" in done.stderr


# --- run


def test_a_node_that_crashes_leaves_its_last_lines(place: Place) -> None:
    place.start("")
    node = "import os, sys; print('x' * 100_000); print('torque limit', file=sys.stderr); os.abort()"
    done = place.run("run", "--name", "arm", "--", sys.executable, "-c", node)
    assert done.returncode == 128 + signal.SIGABRT
    assert (done.stdout, done.stderr) == ("x" * 100_000 + "\n", "torque limit\n")
    place.stop()
    lines = [message["message"] for message in place.messages("/logs/arm")]
    out = [line for line in lines if line["stream"] == "stdout"]
    assert "".join(line["message"] for line in out) == "x" * 100_000
    assert [line["more"] for line in out] == [True, False]
    (crash,) = place.events("program_crashed")
    assert crash["detail"]["signal"] == "SIGABRT"
    assert "torque limit" in crash["detail"]["last_lines"]
    assert len(place.events("program_started")) == 1


# --- journald


def entry(number: int, message: bytes) -> bytes:
    """Returns an entry of the journal, with its message in the binary form."""
    head = f"__CURSOR=s=ab;i={number:x};b=1\n__REALTIME_TIMESTAMP={1_700_000_000_000_000 + number}\n"
    fields = "PRIORITY=4\n_SYSTEMD_UNIT=nav.service\nMESSAGE\n"
    return head.encode() + fields.encode() + len(message).to_bytes(8, "little") + message + b"\n\n"


def test_the_journal_is_not_repeated_after_a_restart(place: Place) -> None:
    journal = place.folder / "journal.export"
    config = f"[[source]]\nkind = 'journald'\ncommand = ['cat', '{journal}']\n"
    for count in (3, 5):
        journal.write_bytes(b"".join(entry(i, f"line {i}\nsecond".encode()) for i in range(count)))
        place.start(config)
        until("all is read", lambda: place.source()["state"] == "ended")
        place.stop()
    messages = place.messages("/logs/journal")
    assert texts(messages) == [f"line {i}\nsecond" for i in range(5)]
    assert messages[0]["publish_time"] == 1_700_000_000_000_000_000
    assert messages[0]["message"]["attributes"]["unit"] == "nav.service"


# --- mqtt


class Mosquitto:
    """A broker: mosquitto if it is there, else amqtt."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Starts it, and returns when it listens."""
        if mosquitto := shutil.which("mosquitto"):
            command = [mosquitto, "-p", str(self.port)]
        else:
            amqtt = Path(sys.executable).with_name("amqtt")
            if not amqtt.exists():
                pytest.skip("there is neither mosquitto nor amqtt")
            config = self.folder / "amqtt.yaml"
            config.write_text(
                f"listeners:\n  default:\n    type: tcp\n    bind: 127.0.0.1:{self.port}\n"
                "plugins:\n  amqtt.plugins.authentication.AnonymousAuthPlugin:\n    allow_anonymous: true\n"
            )
            command = [str(amqtt), "-c", str(config)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def listens() -> bool:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                return False
            return True

        until("the broker listens", listens)

    def stop(self) -> None:
        """Takes it away as a power cut does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path, free_port())
    try:
        yield broker
    finally:
        broker.stop()


def publish(port: int, messages: list[tuple[str, bytes, bool]]) -> None:
    """Publishes with paho."""
    mqtt = pytest.importorskip("paho.mqtt.publish")
    mqtt.multiple([(topic, payload, 1, retain) for topic, payload, retain in messages], port=port)


def test_messages_of_a_broker_are_recorded_and_its_absence_is_a_gap(place: Place, broker: Mosquitto) -> None:
    publish(broker.port, [("arm/config", b'{"speed": 3}', True)])
    place.start(f"[[source]]\nkind = 'mqtt'\nbroker = 'mqtt://127.0.0.1:{broker.port}'\ntopics = ['arm/#']\nqos = 1\n")
    until("the retained message came", lambda: place.source()["messages"] == 1)
    raw = bytes(range(256))
    sent = [("arm/state", b'{"angle": 1.5}', False), ("arm/raw", raw, False), ("other", b"x", False)]
    publish(broker.port, [*sent, ("arm/temp", b"23.5", False)])
    until("the others came", lambda: place.source()["messages"] == 4)
    broker.stop()
    until("it is missed", lambda: place.source()["failures"] >= 1)
    broker.start()
    until("it is back", lambda: (place.source()["note"] or "").startswith("connected"))

    def come_again() -> bool:
        # A broker that has just been started closes some of its first connections.
        publish(broker.port, [("arm/state", b'{"angle": 2.5}', False)])
        return place.source()["messages"] >= 5

    until("messages come again", come_again)
    place.stop()
    states = [message["message"] for message in place.messages("/mqtt/arm/state")]
    assert len(states) >= 2
    assert states == [{"angle": 1.5}] + [{"angle": 2.5}] * (len(states) - 1)
    topics = {topic["topic"]: topic for topic in json.loads(place.run("info", place.tape, "--json").stdout)["topics"]}
    assert {"/mqtt/arm/config", "/mqtt/arm/raw", "/mqtt/arm/state", "/mqtt/arm/temp"} <= topics.keys()
    assert "/mqtt/other" not in topics
    lost = [loss for loss in place.losses() if loss["topic"] == "/mqtt/arm/state"]
    assert [loss["reason"] for loss in lost] == [f"the broker at 127.0.0.1:{broker.port} was away"]
    assert len(place.events("mqtt_back")) == 1


# --- folder


def test_finished_files_are_taken_in_once(place: Place) -> None:
    bag, damaged = DATA / "ros1/husky-gps/test1.bag", DATA / "damaged/husky_gps__trunc50.bag"
    if not bag.is_file() or not damaged.is_file():
        pytest.skip(f"there are no recordings at {DATA}")
    bags = place.folder / "bags"
    bags.mkdir()
    shutil.copy(bag, place.folder / "old")
    # How old it says to be makes no difference: only what is renamed into place is taken within the hour.
    shutil.copy(bag, bags / "unsettled.bag")
    for path in (place.folder / "old", bags / "unsettled.bag"):
        os.utime(path, (1, 1))
    config = f"[[source]]\nkind = 'folder'\npath = '{bags}'\nsettle = '1 h'\n"
    place.start(config)
    until("it watches", lambda: place.source()["note"])
    (place.folder / "old").rename(bags / "old.bag")
    until("the old one is taken", lambda: place.source()["messages"] == 16_806)
    shutil.copy(damaged, bags / "growing.bag")
    shutil.copy(damaged, place.folder / "part")
    (place.folder / "part").rename(bags / "renamed.bag")
    until("what was renamed is taken", lambda: place.source()["messages"] > 16_806 and place.source()["lost"] >= 0)
    until("it is told", lambda: "renamed.bag" in place.source()["note"])
    messages = place.source()["messages"]
    place.stop()
    # Under another name, after a restart.
    place.start(config)
    until("it watches", lambda: place.source()["note"])
    (bags / "old.bag").rename(bags / "another.bag")
    publish_once = place.folder / "again.mcap"
    done = place.run("export", bag, "--topics", "/imu/data", "-o", publish_once)
    assert done.returncode == 0, done.stderr
    publish_once.rename(bags / "again.mcap")
    until("the new one is taken", lambda: "again.mcap" in (place.source()["note"] or ""))
    assert place.source()["messages"] == 11_865
    place.stop()
    taken = place.events("file_taken")
    assert [event["detail"]["messages"] for event in taken] == [16_806, messages - 16_806, 11_865]
    assert taken[1]["detail"]["losses"] >= 1
    assert any("lost in renamed.bag" in loss["reason"] for loss in place.losses())
    info = json.loads(place.run("info", bag, "--json").stdout)
    fixes = [message for message in place.messages("/navsat/fix")][:1] or place.messages(info["topics"][0]["topic"])[:1]
    assert info["start_ns"] <= fixes[0]["log_time"] <= info["end_ns"]


# --- the guide


def blocks(language: str) -> list[str]:
    """Returns the blocks of the guide's first section."""
    text = (ROOT / "docs/guide/sources.md").read_text()
    section = text.split("## All logs and metrics of a computer on one timeline\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def test_the_guides_timeline_of_a_computer_runs(place: Place) -> None:
    missing = [program for program in ("logger", "curl", "bash") if not shutil.which(program)]
    if missing:
        pytest.skip(f"there is no {' and no '.join(missing)}")
    (config,), (script,) = blocks("toml"), blocks("bash")
    for port in ("5514", "8086"):
        free = str(free_port())
        config, script = config.replace(port, free), script.replace(port, free)
    place.start(config)

    def all_listen() -> bool:
        sources = json.loads(place.run("status", "--json").stdout)["sources"]
        return len(sources) == 3 and all(source["note"] for source in sources)

    until("all sources listen", all_listen)
    environment = {**place.environment, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=place.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    until("a datagram came", lambda: texts(place.messages("/logs/nav")))
    place.stop()
    assert texts(place.messages("/logs/arm")) == ["INFO arm ready"]
    assert texts(place.messages("/logs/nav")) == ["route is blocked"]
    assert len(place.messages("/metrics/battery")) == 1
