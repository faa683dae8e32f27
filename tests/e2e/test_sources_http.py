"""Logs and metrics from programs that never heard of Tapeloop, in recordings that hold what was sent."""

from __future__ import annotations

import gzip
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from mcap.reader import make_reader

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PROGRAMS = Path(os.environ.get("TAPELOOP_BIN_DIR", TARGET / "debug"))
PATIENCE_SECONDS = 30
# Segments, and with them recordings, are complete after a second and not after ten.
QUICK = """
[segment]
age = "1 s"
[[buffer]]
name = "all"
disk = "10 min"
"""


class Agent:
    """An agent with sources, a folder, a tape and a socket of its own."""

    def __init__(self, folder: Path, sources: str) -> None:
        self.folder = folder
        (folder / "tapeloop.toml").write_text(QUICK + sources)
        self.environment = {
            **os.environ,
            "TAPELOOP_SOCKET": str(folder / "agent.sock"),
            "TAPELOOP_DATA": str(folder / "tape"),
            "TAPELOOP_HTTP": "off",
        }
        self.process = subprocess.Popen(
            [PROGRAMS / "tapeloop", "record", "tapeloop.toml"], cwd=folder, env=self.environment, stderr=subprocess.PIPE
        )
        self.until(lambda: bool(self.sources()) and all(source["note"] for source in self.sources()))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `tapeloop`, which finds this agent."""
        return subprocess.run(
            [str(PROGRAMS / "tapeloop"), *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def sources(self) -> list[dict[str, Any]]:
        done = self.run("status", "--json")
        return json.loads(done.stdout)["sources"] if done.returncode == 0 else []

    def until(self, condition: Callable[[], bool]) -> None:
        """Waits until something is so."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise AssertionError(f"waited in vain: {self.process.communicate()[1]!r}")
            time.sleep(0.05)

    def address(self, word: str = "", index: int = 0) -> str:
        """Returns where a source listens: the address behind a word of its note."""
        words = self.sources()[index]["note"].split()
        return words[words.index(word) + 2] if word else words[-1]

    def saved(self) -> dict[str, list[tuple[int, Any]]]:
        """Saves everything, and returns what another program finds: publish times and values by topic."""
        done = self.run("save", "--before", "1h", "--wait", "--json")
        assert done.returncode in (0, 3), done.stderr
        name = json.loads(done.stdout)["recording"]
        done = self.run("export", name, "-o", "saved.mcap")
        assert done.returncode in (0, 3), done.stderr
        topics: dict[str, list[tuple[int, Any]]] = {}
        with (self.folder / "saved.mcap").open("rb") as file:
            for _, channel, message in make_reader(file, validate_crcs=True).iter_messages():
                topics.setdefault(channel.topic, []).append((message.publish_time, json.loads(message.data)))
        (self.folder / "saved.mcap").unlink()
        return topics


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Agent]]:
    """Starts agents with the sources that a text names, and ends them."""
    agents = []

    def start(sources: str) -> Agent:
        agents.append(Agent(tmp_path_factory.mktemp("d"), sources))
        return agents[-1]

    yield start
    for agent in agents:
        agent.process.send_signal(signal.SIGTERM)
        try:
            agent.process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            agent.process.kill()
        assert agent.process.returncode in (0, 3), "3: what a test let be lost"


def post(url: str, body: bytes, **headers: str) -> tuple[int, bytes]:
    """Posts a body and returns status and body of the answer."""
    request = urllib.request.Request(url, body, {key.replace("_", "-"): value for key, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_the_client_library_of_influxdb_writes(start: Callable[[str], Agent]) -> None:
    from influxdb_client.client.influxdb_client import InfluxDBClient
    from influxdb_client.client.write.point import Point
    from influxdb_client.client.write_api import SYNCHRONOUS
    from influxdb_client.domain.write_precision import WritePrecision
    from influxdb_client.rest import ApiException

    agent = start("[[source]]\nkind = 'influx'\nlisten = '127.0.0.1:0'\ntoken = 'secret'\n")
    url = f"http://{agent.address()}"
    for compressed in (False, True):
        with InfluxDBClient(url, token="secret", org="robots", enable_gzip=compressed) as client:
            assert client.ping() and client.health().status == "pass"
            writer = client.write_api(write_options=SYNCHRONOUS)
            point = Point("motor").tag("name", "left, upper = 1").field("volts", 24.5).field("state", 'on "line"')
            writer.write("bucket", record=point.field("count", 3).time(1_700_000_000_123_456_789, WritePrecision.NS))
            lines = [f"motor volts={i} {1_700_000_000 + i}" for i in range(500)]
            # Its precisions are texts, whatever its annotation says.
            writer.write("bucket", record=lines, write_precision="s")  # pyright: ignore[reportArgumentType]
            with pytest.raises(ApiException) as caught:
                writer.write("bucket", record=["motor volts=1", "motor no field", "motor volts=2"])
            assert caught.value.status == 400
    with InfluxDBClient(url, token="wrong", org="robots") as client, pytest.raises(ApiException) as caught:
        client.write_api(write_options=SYNCHRONOUS).write("bucket", record="motor volts=1")
    assert caught.value.status == 401
    motor = agent.saved()["/metrics/motor"]
    assert len(motor) == 2 * 503
    assert motor[0] == (
        1_700_000_000_123_456_789,
        {"tags": {"name": "left, upper = 1"}, "fields": {"count": 3, "state": 'on "line"', "volts": 24.5}},
    )
    assert motor[1][0] == 1_700_000_000_000_000_000 and motor[1][1]["fields"] == {"volts": 0}
    # Two lines, and who did not show the token.
    assert agent.sources()[0]["refused"] == 3


def test_what_ros_logs_to_influxdb_is_understood(start: Callable[[str], Agent]) -> None:
    """The call of `diagnostic_remote_logging`, whose tags are not escaped where they hold commas, nor its texts."""
    agent = start("[[source]]\nkind = 'influx'\nlisten = '127.0.0.1:0'\n")
    now = time.time_ns()
    lines = (
        "diagnostics,ns=/robot,name=Motor\\ 3,\\ left:\\ x=1,hardware_id=none "
        'level=1,message="said "too hot" twice",temp=81.5,'
        f'mode="auto, slow" {now}\n'
        f'diagnostics,ns=/robot,name=Disk,hardware_id=none level=0,message="OK" {now + 1}\n'
    )
    headers = {"Content_Type": "text/plain; charset=utf-8", "Accept": "application/json"}
    status, body = post(f"http://{agent.address()}/api/v2/write?org=o&bucket=b", lines.encode(), **headers)
    assert (status, body) == (204, b"")
    # As Telegraf posts: packed, many measurements at once, with a user agent of its own.
    telegraf = "".join(f"cpu,cpu=cpu{i},host=rover usage_idle=9{i}.5,usage_user={i}i {now + i}\n" for i in range(8))
    packed = gzip.compress((telegraf + f"mem,host=rover used=5u,free=7u {now}\n").encode())
    headers = {"Content_Encoding": "gzip", "Content_Type": "text/plain; charset=utf-8", "User_Agent": "Telegraf/1.36"}
    assert post(f"http://{agent.address()}/api/v2/write?bucket=b&org=o&precision=ns", packed, **headers)[0] == 204
    topics = agent.saved()
    (at, motor), (_, disk) = topics["/metrics/diagnostics"]
    assert at == now
    assert motor["tags"] == {"ns": "/robot", "name": "Motor 3, left: x=1", "hardware_id": "none"}
    assert motor["fields"] == {"level": 1, "message": 'said "too hot" twice', "temp": 81.5, "mode": "auto, slow"}
    assert disk["fields"] == {"level": 0, "message": "OK"}
    assert [value["fields"]["usage_user"] for _, value in topics["/metrics/cpu"]] == list(range(8))
    assert topics["/metrics/mem"][0][1]["fields"] == {"used": 5, "free": 7}


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_opentelemetry_sdk_exports_logs_metrics_and_traces(start: Callable[[str], Agent], protocol: str) -> None:
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    agent = start("[[source]]\nkind = 'otlp'\nlisten = '127.0.0.1:0'\ngrpc = '127.0.0.1:0'\ntoken = 'secret'\n")
    if protocol == "http":
        from opentelemetry.exporter.otlp.proto.http import Compression
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        base = f"http://{agent.address('HTTP')}/v1"
        with_all = {"headers": {"Authorization": "Bearer secret"}, "compression": Compression.Gzip}
        to: dict[str, dict[str, Any]] = {
            name: {"endpoint": f"{base}/{name}", **with_all} for name in ("logs", "metrics", "traces")
        }
    else:
        from grpc import Compression
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        one = {
            "endpoint": agent.address("gRPC"),
            "insecure": True,
            "headers": (("authorization", "Bearer secret"),),
            "compression": Compression.Gzip,
        }
        to = dict.fromkeys(("logs", "metrics", "traces"), one)

    resource = Resource.create({"service.name": "planner", "robot.id": 7})
    tracing = TracerProvider(resource=resource)
    tracing.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(**to["traces"])))
    logs = LoggerProvider(resource=resource)
    logs.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(**to["logs"])))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(**to["metrics"]), export_interval_millis=3_600_000)
    metrics = MeterProvider(metric_readers=[reader], resource=resource)
    logger = logging.getLogger(f"planner.{protocol}")
    logger.setLevel(logging.INFO)
    logger.addHandler(LoggingHandler(logger_provider=logs))

    with tracing.get_tracer("planner").start_as_current_span("plan", attributes={"goal": "dock"}) as span:
        logger.warning("obstacle at %d m", 3, extra={"sensor": "lidar"})
        span.add_event("replanned")
    meter = metrics.get_meter("planner")
    meter.create_counter("plans", unit="1").add(5, {"kind": "global"})
    meter.create_histogram("plan.duration", unit="ms").record(12.5)
    for provider in (metrics, logs, tracing):
        assert provider.force_flush() is not False
        provider.shutdown()

    topics = agent.saved()
    ((logged_at, record),) = [entry for entry in topics["/logs/planner"] if entry[1]["message"] == "obstacle at 3 m"]
    assert abs(logged_at - time.time_ns()) < 600e9
    assert (record["level"], record["attributes"]["sensor"], record["resource"]["robot.id"]) == (3, "lidar", 7)
    ((ended_at, plan),) = topics["/traces/planner"]
    assert (plan["name"], plan["attributes"], plan["end_ns"]) == ("plan", {"goal": "dock"}, ended_at)
    assert plan["events"][0]["name"] == "replanned"
    assert (record["trace_id"], record["span_id"]) == (plan["trace_id"], plan["span_id"])
    plans = topics["/metrics/plans"][-1][1]
    assert (plans["value"], plans["kind"], plans["monotonic"], plans["attributes"]) == (
        5,
        "sum",
        True,
        {"kind": "global"},
    )
    duration = topics["/metrics/plan.duration"][-1][1]
    assert (duration["count"], duration["sum"], duration["unit"]) == (1, 12.5, "ms")


def test_a_grpc_client_reads_why_it_was_refused(start: Callable[[str], Agent]) -> None:
    import grpc
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub

    agent = start("[[source]]\nkind = 'otlp'\nlisten = 'off'\ngrpc = '127.0.0.1:0'\ntoken = 'secret'\n")
    good = ExportLogsServiceRequest()
    good.resource_logs.add().scope_logs.add().log_records.add().body.string_value = "good"
    large = ExportLogsServiceRequest()
    large.resource_logs.add().scope_logs.add().log_records.add().body.string_value = "x" * (40 << 20)
    token = (("authorization", "Bearer secret"),)
    with grpc.insecure_channel(agent.address()) as channel:
        stub = LogsServiceStub(channel)
        assert not stub.Export(good, metadata=token).HasField("partial_success")

        def refusal(call: Callable[[], Any]) -> grpc.StatusCode:
            with pytest.raises(grpc.RpcError) as caught:
                call()
            return caught.value.code()

        assert refusal(lambda: stub.Export(good)) == grpc.StatusCode.UNAUTHENTICATED
        assert refusal(lambda: stub.Export(large, metadata=token)) == grpc.StatusCode.RESOURCE_EXHAUSTED
        path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
        raw = channel.unary_unary(path)
        assert refusal(lambda: raw(b"\xff\xff", metadata=token)) == grpc.StatusCode.INVALID_ARGUMENT
        assert refusal(lambda: channel.unary_unary("/a.B/C")(b"", metadata=token)) == grpc.StatusCode.UNIMPLEMENTED
        # A record that is none is told of, and the others are taken: its body is no message, in the middle of one.
        record = good.resource_logs[0].scope_logs[0].SerializeToString()
        scope = record + b"\x12\x03\x2a\x05x"
        partial = raw(b"\x0a" + bytes([len(scope) + 2]) + b"\x12" + bytes([len(scope)]) + scope, metadata=token)
        assert partial.startswith(b"\x0a") and b"a record that is none" in partial
    assert [value["message"] for _, value in agent.saved()["/logs/unknown_service"]] == ["good", "good"]


def test_logtail_logs_to_us_instead(start: Callable[[str], Agent]) -> None:
    from logtail import LogtailHandler

    agent = start("[[source]]\nkind = 'logs'\nlisten = '127.0.0.1:0'\ntoken = 'secret'\nname_of_records = 'driver'\n")
    handler = LogtailHandler(source_token="secret", host=f"http://{agent.address()}")
    logger = logging.getLogger("logtail-test")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    for i in range(100):
        logger.error("motor %d stalled", i, extra={"amps": i / 2})
    agent.until(lambda: agent.sources()[0]["messages"] == 100)
    logger.removeHandler(handler)
    records = agent.saved()["/logs/driver"]
    assert [record["message"] for _, record in records] == [f"motor {i} stalled" for i in range(100)]
    assert records[3][1]["level"] == 4
    assert records[3][1]["attributes"]["amps"] == 1.5
    assert abs(records[3][0] - time.time_ns()) < 600e9


def test_hostile_requests_cost_nobody_else_anything(start: Callable[[str], Agent]) -> None:
    agent = start(
        "[[source]]\nkind = 'logs'\nlisten = '127.0.0.1:0'\ntoken = 'secret'\n"
        "[[source]]\nkind = 'otlp'\nlisten = '127.0.0.1:0'\ngrpc = '127.0.0.1:0'\n"
    )
    logs, otlp = f"http://{agent.address()}/", f"http://{agent.address('HTTP', 1)}/v1/logs"
    token = {"Authorization": "Bearer secret"}
    bomb = gzip.compress(bytes(1 << 30), 9)
    assert len(bomb) < 2 << 20
    assert post(logs, bomb, Content_Encoding="gzip", **token)[0] == 413
    assert post(otlp, bomb, Content_Encoding="gzip", Content_Type="application/x-protobuf")[0] == 413
    line = json.dumps({"message": "x" * 100_000_000}).encode()
    assert post(logs, line, **token)[0] == 413
    assert post(logs, b'{"message": "who am I"}', Authorization="Bearer wrong")[0] == 403
    status, body = post(otlp, b"\x0a\xff\xff\xff", Content_Type="application/x-protobuf")
    # A google.rpc.Status, whose field 2 is the message.
    assert (status, body[:1]) == (400, b"\x12")
    assert post(logs, b"\xff\xfe not json", **token)[0] == 406
    # Connections that say nothing, or only half of what they promise.
    host, port = agent.address().split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(50)]
    half = socket.create_connection((host, int(port)))
    half.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nContent-Length: 1000\r\n\r\n{")
    half.close()
    # HTTP/2 that is none.
    host, port = agent.address("gRPC", 1).split(":")
    with socket.create_connection((host, int(port))) as broken:
        broken.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">I", 0xFFFFFF00) + os.urandom(100))
    assert post(logs, b'{"message": "still here"}', **token)[0] == 202
    for connection in silent:
        connection.close()
    assert [record["message"] for _, record in agent.saved()["/logs/app"]] == ["still here"]
    memory = Path(f"/proc/{agent.process.pid}/status").read_text()
    (peak,) = [int(line.split()[1]) for line in memory.splitlines() if line.startswith("VmHWM:")]
    assert peak < 1_000_000, f"{peak} kB"


def test_what_is_not_taken_is_counted_and_can_be_sent_again(start: Callable[[str], Agent]) -> None:
    agent = start(
        "[[source]]\nkind = 'influx'\nlisten = '127.0.0.1:0'\n"
        "[[source]]\nkind = 'logs'\nlisten = '127.0.0.1:0'\nlimit = '1 B/s'\n"
    )
    influx, logs = f"http://{agent.address()}", f"http://{agent.address(index=1)}/"
    assert post(f"{influx}/api/v3/write_lp?db=robot", b"motor volts=1 1700000000")[0] == 204
    assert post(f"{influx}/write?precision=s&precision=ms", b"motor volts=2")[0] == 400
    assert post(f"{influx}/nowhere", b"motor volts=3")[0] == 404
    # A page of the web, which a browser lets post to this machine.
    assert post(f"{influx}/write", b"motor volts=4", Origin="https://evil.example")[0] == 403
    # As Fluent Bit posts: records one after the other, with their times.
    event = b"\x92\x92\xd7\x00\x65\x53\xf1\x00\x00\x00\x00\x07\x80\x81\xa3log\xa3hot"
    assert post(logs, event + event, Content_Type="application/msgpack")[0] == 202
    # The first request was taken as a whole; now its source has nothing left, which costs nobody anything.
    assert post(logs, event, Content_Type="application/msgpack")[0] == 429
    by_name = {source["name"]: source for source in agent.sources()}
    assert (by_name["influx"]["refused"], by_name["logs"]["refused"], by_name["logs"]["lost"]) == (3, 1, 0)
    topics = agent.saved()
    assert [at for at, _ in topics["/metrics/motor"]] == [1_700_000_000_000_000_000]
    assert [(at, record["message"]) for at, record in topics["/logs/app"]] == [(1_700_000_000_000_000_007, "hot")] * 2


def test_programs_are_asked_as_prometheus_asks(start: Callable[[str], Agent]) -> None:
    first, second = b'laps{track="a"} 7\nbattery NaN\n', b'laps{track="a"} 1\n'
    pages = iter([b"# TYPE laps counter\n" + page for page in (first, second)])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(next(pages, b"laps 2\nbad line here\n"))

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    target = f"127.0.0.1:{server.server_port}"
    agent = start(f"[[source]]\nkind = 'prometheus'\ntargets = ['{target}', '127.0.0.1:1']\ninterval = '100 ms'\n")
    agent.until(lambda: agent.sources()[0]["refused"] > 0)
    server.shutdown()
    topics = agent.saved()
    laps = [value for _, value in topics["/metrics/laps"]]
    assert [(lap["value"], lap.get("reset", False)) for lap in laps[:3]] == [(7, False), (1, True), (2, False)]
    assert laps[0]["attributes"] == {"track": "a"} and laps[0]["resource"] == {"target": target}
    assert topics["/metrics/battery"][0][1]["value_text"] == "NaN"
    up = {(value["resource"]["target"], value["value"]) for _, value in topics["/metrics/up"]}
    assert {(target, 1), ("127.0.0.1:1", 0)} <= up
    status = agent.run("status", "--once").stdout
    assert "prometheus" in status and "asks 2 targets" in status


def test_the_computer_says_how_it_is_doing_and_how_good_its_clock_is(start: Callable[[str], Agent]) -> None:
    agent = start('[[source]]\nkind = "host"\ninterval = "200ms"\n')
    agent.until(lambda: agent.sources()[0]["messages"] >= 20)
    topics = agent.saved()
    assert {"/host/cpu", "/host/memory", "/host/network", "/host/clock"} <= set(topics)
    _, cpu = topics["/host/cpu"][-1]
    assert len(cpu["cores_percent"]) == os.cpu_count()
    _, memory = topics["/host/memory"][-1]
    assert 0 < memory["used_bytes"] < memory["total_bytes"]
    # The clock was looked at once: it is asked every ten seconds, at the beginning first.
    [(_, clock)] = topics["/host/clock"][:1]
    assert isinstance(clock["synchronized"], bool) and clock["max_error_ns"] >= 0
