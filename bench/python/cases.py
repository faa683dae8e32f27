"""The cases: what is measured, against which peer, and how it becomes lines of the table."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from programs import Programs
from report import Outcome, Row, interleave, median
from servers import Agent, ReductStore, Server

MB = 1e6
# What a recorder may take beside the RAM that its buffers are configured to have.
RSS_ALLOWANCE = 64 << 20
PYTHON = Path(__file__).resolve().parent
MIXED = ["500x200x100", "1x10x5000000"]
# Cameras, lidars, radars and the rest of a car, after rosbag2's "automotive" set: about 570 MB/s.
AUTOMOTIVE = ["6x24x3750000", "4x10x600000", "5x20x30000", "10x50x2000"]
RAM_BYTES = 2_000_000_000


@dataclass
class Bench:
    """What every case needs."""

    programs: Programs
    data: Path
    runs: int

    def fresh(self) -> Path:
        """Returns a path where there is nothing yet; what was there before is removed."""
        self.clean()
        self.data.mkdir(parents=True)
        return self.data / "run"

    def clean(self) -> None:
        """Removes what runs left behind."""
        shutil.rmtree(self.data, ignore_errors=True)

    def tape(self, *arguments: object) -> dict[str, Any]:
        """Runs `tape-bench` once."""
        return self.child([str(self.programs.bench), *map(str, arguments)])

    def script(self, name: str, *arguments: object) -> dict[str, Any]:
        """Runs one of the Python scripts here once."""
        return self.child([str(self.programs.python), str(PYTHON / name), *map(str, arguments)])

    def child(self, command: list[str]) -> dict[str, Any]:
        """Runs a program and returns the JSON object that it prints."""
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "RUST_BACKTRACE": "0"}, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-800:]}")
        return json.loads(done.stdout.splitlines()[-1])


def rate(run: dict[str, Any]) -> float:
    return run.get("messages", run.get("calls", 0)) / run["seconds"]


def thousands(number: float) -> str:
    return f"{number:,.0f}"


def ratio_row(case: str, unit: str, ours: float, peer: float, aim: float | None) -> Row:
    """Returns a line where more is better."""
    ratio = ours / peer
    aimed = f"≥ {aim:g} x" if aim else ""
    return Row(
        case,
        f"{thousands(ours)} {unit}",
        f"{thousands(peer)} {unit}",
        f"{ratio:.2f} x",
        aimed,
        ratio >= aim if aim else None,
    )


def python_calls(bench: Bench) -> Outcome:
    """Python `log(topic, dict)` and `log(topic, 1 KB)`, embedded, against the MCAP sink of foxglove-sdk."""
    outcome = Outcome()
    for compression in ["zstd", "none"]:
        for kind, what in [("dict", "7-key dict"), ("bytes", "1 KB bytes")]:
            options = [kind, "--compression", compression]
            runs = interleave(
                bench.runs,
                {
                    "tapeloop": lambda options=options: bench.script(
                        "log_calls.py", "tapeloop", *options, "--data", bench.fresh()
                    ),
                    "foxglove": lambda options=options: bench.script(
                        "log_calls.py", "foxglove", *options, "--data", bench.fresh()
                    ),
                },
            )
            outcome.raw |= {f"{name} {kind} {compression}": values for name, values in runs.items()}
            ours, peer = median(runs["tapeloop"], rate), median(runs["foxglove"], rate)
            case = f"Python log({what}), {compression}; foxglove-sdk"
            outcome.rows.append(ratio_row(case, "calls/s", ours, peer, 2 if compression == "zstd" else None))
    return outcome


def rust_append(bench: Bench) -> Outcome:
    """Rust append of 300-B messages to a disk buffer, against the `mcap` crate's writer to one file."""
    outcome = Outcome()
    # The tape syncs twice a second and at the end; the peer only where it says so.
    for compression, peer_syncs, aim in [
        ("none", False, 1.0),
        ("none", True, None),
        ("lz4", True, None),
        ("zstd", True, None),
    ]:
        options = ["--compression", compression, "--messages", 4_000_000]
        sync = ["--sync"] if peer_syncs else []
        runs = interleave(
            bench.runs,
            {
                "tape": lambda options=options: bench.tape("append", *options, "--sync", "--data", bench.fresh()),
                "mcap": lambda options=options, sync=sync: bench.tape(
                    "append-mcap", *options, *sync, "--data", bench.fresh()
                ),
            },
        )
        outcome.raw |= {f"{name} {compression} {peer_syncs}": values for name, values in runs.items()}
        case = (
            f"Rust append 300 B, {compression}; mcap 0.26 writer, {'synced as often' if peer_syncs else 'never synced'}"
        )
        outcome.rows.append(ratio_row(case, "msg/s", median(runs["tape"], rate), median(runs["mcap"], rate), aim))
    return outcome


def topics(bench: Bench) -> Outcome:
    """100 and 10,000 topics: as fast as they are taken, and CPU at the same total rate."""
    outcome = Outcome()
    for size, messages in [(1000, 600_000), (100, 2_000_000)]:
        options = ["--sync", "--size", size, "--messages", messages]
        variants = {
            count: lambda count=count, options=options: bench.tape(
                "append", *options, "--topics", count, "--data", bench.fresh()
            )
            for count in ["100", "10000"]
        }
        runs = interleave(bench.runs, variants)
        outcome.raw |= {f"append {count} {size}": values for count, values in runs.items()}
        few, many = median(runs["100"], rate), median(runs["10000"], rate)
        met = few / many <= 1.5 if size == 1000 else None
        row = Row(
            f"100 → 10,000 topics, {size} B",
            f"{thousands(many)} msg/s",
            f"{thousands(few)} msg/s",
            f"1 : {few / many:.2f}",
            "≤ 1 : 1.5",
            met,
        )
        outcome.rows.append(row)
    config = "[[buffer]]\nname = 'all'\ndisk = { size = '8 GB' }\ncompression = 'none'\n"
    variants = {
        stream: lambda stream=stream: bench.tape(
            "load", "--seconds", 5, "--stream", stream, "--config", config, "--data", bench.fresh()
        )
        for stream in ["100x500x300", "10000x5x300"]
    }
    runs = interleave(bench.runs, variants)
    outcome.raw |= {f"load {stream}": values for stream, values in runs.items()}
    few, many = (median(values, lambda run: run["cpu_seconds"] / run["messages"] * 1e6) for values in runs.values())
    case = "the same, 300 B, CPU at 50,000 msg/s"
    outcome.rows.append(
        Row(case, f"{many:.2f} µs/msg", f"{few:.2f} µs/msg", f"1 : {many / few:.2f}", "≤ 1 : 1.5", many / few <= 1.5)
    )
    return outcome


def agent(bench: Bench) -> Outcome:
    """1 KB messages and 1 MB frames from another process through the agent, against ReductStore through its SDK."""
    outcome = Outcome()
    bench.fresh()
    with (
        Agent(bench.programs.agent, bench.data / "tape", "none") as tapeloop,
        ReductStore(bench.programs.reductstore, bench.data / "reduct") as reduct,
    ):

        def ours(size: int, messages: int) -> Callable[[], dict[str, Any]]:
            options = ["--socket", tapeloop.socket, "--size", size, "--messages", messages]
            return lambda: with_server_cpu(tapeloop, messages, lambda: bench.tape("agent", *options))

        def ours_in_python(size: int, messages: int) -> Callable[[], dict[str, Any]]:
            options = ["agent", "bytes", "--data", tapeloop.socket, "--size", size, "--calls", messages]
            return lambda: with_server_cpu(tapeloop, messages, lambda: bench.script("log_calls.py", *options))

        def peer(size: int, records: int, batch: int) -> Callable[[], dict[str, Any]]:
            options = ["--port", reduct.port, "--size", size, "--records", records, "--batch", batch]
            return lambda: with_server_cpu(reduct, records, lambda: bench.script("reduct_writes.py", *options))

        small = {
            "rust": ours(1000, 500_000),
            "python": ours_in_python(1000, 300_000),
            "single": peer(1000, 3_000, 0),
            "batched": peer(1000, 16_000, 80),
        }
        large = {
            "rust": ours(1_000_000, 500),
            "python": ours_in_python(1_000_000, 500),
            "single": peer(1_000_000, 300, 0),
            "batched": peer(1_000_000, 400, 8),
        }
        for what, variants, aims in [("1 KB", small, (50, 10)), ("1 MB", large, (1.2, 1.2))]:
            runs = interleave(bench.runs, variants)
            outcome.raw |= {f"{name} {what}": values for name, values in runs.items()}
            unit, scale = ("msg/s", 1.0) if what == "1 KB" else ("MB/s", 1.0)
            for client in ["rust", "python"]:
                for way, aim in zip(["single", "batched"], aims, strict=True):
                    case = f"{what} through the agent ({client} client); ReductStore {way}"
                    numbers = median(runs[client], rate) * scale, median(runs[way], rate) * scale
                    outcome.rows.append(ratio_row(case, unit, *numbers, aim if client == "rust" else None))
            cpu = {name: median(values, "server_us") for name, values in runs.items()}
            peers = f"{cpu['single']:.0f} / {cpu['batched']:.0f} µs"
            met = cpu["rust"] <= 5 if what == "1 KB" else None
            aim_text = "≤ 5 µs" if what == "1 KB" else ""
            ratio = f"1/{cpu['batched'] / cpu['rust']:.0f}"
            outcome.rows.append(
                Row(
                    f"{what}: server CPU per message; ReductStore single / batched",
                    f"{cpu['rust']:.2f} µs",
                    peers,
                    ratio,
                    aim_text,
                    met,
                )
            )
    return outcome


def sources(bench: Bench) -> Outcome:
    """Log records of OpenTelemetry and lines of InfluxDB, in batches of 512 over one connection."""
    outcome = Outcome()
    for kind, what, aim in [("otlp", "log records", 200_000), ("influx", "lines", 500_000)]:
        runs = [bench.tape("sources", "--kind", kind, "--data", bench.fresh()) for _ in range(bench.runs)]
        outcome.raw[kind] = runs
        per_core = median(runs, lambda run: run["messages"] / run["source_seconds"])
        passed = median(runs, rate)
        case = f"{kind}: {what} per second of a core; per second"
        ours = f"{thousands(per_core)}; {thousands(passed)}"
        outcome.rows.append(Row(case, ours, aim=f"≥ {thousands(aim)}", met=per_core >= aim))
    return outcome


def with_server_cpu(server: Server, messages: int, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    before = server.cpu_seconds()
    result = run()
    return {**result, "server_us": (server.cpu_seconds() - before) / messages * 1e6}


def mixed(bench: Bench) -> Outcome:
    """500 topics of 100 B at 200 Hz and one of 5 MB at 10 Hz in process, 60 s, to a disk buffer: lost, CPU, memory."""
    outcome = Outcome()
    for compression in ["zstd", "none"]:
        config = f"[[buffer]]\nname = 'all'\ndisk = {{ size = '8 GB' }}\ncompression = '{compression}'\n"
        arguments = ["load", "--seconds", 60, "--verify", "--config", config, *streams(MIXED)]
        runs = [bench.tape(*arguments, "--data", bench.fresh()) for _ in range(bench.runs)]
        outcome.raw[compression] = runs
        outcome.rows += load_rows(f"mixed, 60 s, disk, {compression}", runs, 0)
    return outcome


def automotive(bench: Bench) -> Outcome:
    """Six cameras, lidars and radars, 570 MB/s: 20 s into RAM, and what share of it a disk buffer takes."""
    outcome = Outcome()
    config = f"[[buffer]]\nname = 'all'\nram = {{ size = '{RAM_BYTES} B' }}\n"
    arguments = ["load", "--seconds", 20, "--config", config, *streams(AUTOMOTIVE)]
    runs = [bench.tape(*arguments, "--data", bench.fresh()) for _ in range(bench.runs)]
    outcome.raw["ram"] = runs
    outcome.rows += load_rows("automotive, 20 s, RAM", runs, RAM_BYTES)
    config = "[[buffer]]\nname = 'all'\ndisk = { size = '12 GB' }\ncompression = 'none'\n"
    best = 0.0
    for share in [0.5, 0.75, 1.0, 1.25, 1.5, 2.0]:
        arguments = ["load", "--seconds", 10, "--share", share, "--config", config, *streams(AUTOMOTIVE)]
        try:
            run = bench.tape(*arguments, "--data", bench.fresh())
        except RuntimeError:
            break
        outcome.raw[f"disk {share}"] = [run]
        # A producer that waits for the disk loses nothing, but a camera would not wait.
        if lost(run) or run["latest_ms"] > 1000:
            break
        best = share
    rate_mb = 570 * best
    outcome.rows.append(
        Row("the same to disk: the largest share without loss", f"{best:.0%} ({rate_mb:.0f} MB/s)", aim="say it")
    )
    return outcome


def streams(loads: list[str]) -> list[str]:
    return [part for load in loads for part in ("--stream", load)]


def lost(run: dict[str, Any]) -> int:
    return run["lost"] + run["errors"]


def load_rows(case: str, runs: list[dict[str, Any]], ram_bytes: int) -> list[Row]:
    worst = max(map(lost, runs))
    seconds, cpu = median(runs, "seconds"), median(runs, "cpu_seconds")
    own = median(runs, lambda run: run["peak_rss"] - run["base_rss"])
    limit = ram_bytes + RSS_ALLOWANCE
    bandwidth = median(runs, lambda run: run["bytes"] / run["seconds"] / MB)
    latest = max(run["latest_ms"] for run in runs)
    return [
        Row(
            f"{case}: lost in {len(runs)} runs", f"{worst} of {thousands(runs[0]['messages'])}", aim="0", met=worst == 0
        ),
        Row(f"{case}: CPU, rate, latest call", f"{cpu / seconds:.1%} of a core, {bandwidth:.0f} MB/s, {latest:.0f} ms"),
        Row(f"{case}: memory", f"{own / (1 << 20):.0f} MiB", aim=f"≤ {limit / (1 << 20):.0f} MiB", met=own <= limit),
    ]


def capture(bench: Bench) -> Outcome:
    """Keeping the last 60 s (1.2 GB) of a disk buffer that goes on recording, against copying the bytes."""
    runs = [bench.tape("capture", "--saves", 5, "--data", bench.fresh()) for _ in range(bench.runs)]
    saves = [save for run in runs for save in run["save_ms"]]
    middle, worst = median([{"ms": ms} for ms in saves], "ms"), max(saves)
    gigabytes = median(runs, "named_bytes") / 1e9
    copy_ms = median(runs, lambda run: run["copy"]["seconds"] / run["copy"]["bytes"] * run["named_bytes"] * 1e3)
    written = median(runs, "capture_written_bytes")
    case = f"save() of the last 60 s, {gigabytes:.1f} GB"
    rows = [
        Row(
            f"{case}; copying them",
            f"{middle:.1f} ms (worst {worst:.0f})",
            f"{copy_ms:.0f} ms",
            f"1/{copy_ms / middle:.0f}",
            "≤ 20 ms",
            middle <= 20,
        ),
        Row(
            f"{case}: bytes written, all of them manifest and index",
            thousands(written),
            aim="0 payload",
            met=written < 1_000_000,
        ),
    ]
    return Outcome(rows, {"capture": runs})


def reopen(bench: Bench) -> Outcome:
    """Opening a tape of 20,000 small segments after `kill -9`, until it accepts a message."""
    made = bench.fresh()
    killed = subprocess.run([str(bench.programs.bench), "make-segments", "--data", str(made)], check=False)
    if killed.returncode != -9:
        raise RuntimeError(f"the tape was not made: exit code {killed.returncode}")
    raw: dict[str, list[dict[str, Any]]] = {}
    for state in ["warm", "cold", "no index"]:
        raw[state] = []
        for _ in range(bench.runs):
            copy = bench.data / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(made, copy)
            if state == "no index":
                (copy / "tape" / "index").unlink()
            if state == "cold" and not drop_caches():
                break
            raw[state].append(bench.tape("reopen", "--data", copy))
    names = {"warm": "", "cold": ", nothing cached", "no index": ", index file lost"}
    rows = []
    for state, runs in raw.items():
        if runs:
            ms = median(runs, "accepted_ms")
            rows.append(
                Row(
                    f"reopen 20,000 segments after kill -9{names[state]}",
                    f"{ms:.0f} ms",
                    aim="≤ 1000 ms" if state != "no index" else "",
                    met=ms <= 1000 if state != "no index" else None,
                )
            )
    return Outcome(rows, raw)


def linear_read(bench: Bench) -> Outcome:
    """Every message of 60 s of a car (158,507 messages), against PyPI's mcap and rosbags and the `mcap` crate."""
    beside = PYTHON.parents[2] / "shared" / "data"
    file = Path(os.environ.get("TAPELOOP_TEST_DATA", beside)) / "mcap/comma2k19/comma2k19_ros2_mcap.mcap"
    if not file.exists():
        return Outcome([Row(f"linear read: there is no {file.name} (set TAPELOOP_TEST_DATA)", "skipped")])
    runs = interleave(
        bench.runs,
        {
            "tapeloop": lambda: bench.tape("read", "--data", file),
            "mcap crate": lambda: bench.tape("read-mcap", "--data", file),
            "PyPI mcap": lambda: bench.script("read_file.py", "mcap", file),
            "PyPI rosbags": lambda: bench.script("read_file.py", "rosbags", file),
        },
    )
    counts = {run["messages"] for values in runs.values() for run in values}
    if len(counts) != 1:
        raise RuntimeError(f"the readers found different numbers of messages: {counts}")
    ours = median(runs["tapeloop"], rate)
    rows = [
        ratio_row(f"linear read of comma2k19; {peer}", "msg/s", ours, median(runs[peer], rate), aim)
        for peer, aim in [("PyPI mcap", 20), ("PyPI rosbags", 8), ("mcap crate", 1)]
    ]
    return Outcome(rows, runs)


def one_topic(bench: Bench) -> Outcome:
    """One topic of a hundred of 1 GB (or $BENCH_FILE_BYTES) that is chunked by topic: bytes read, memory."""
    size = os.environ.get("BENCH_FILE_BYTES", "1000000000")
    file = bench.fresh().with_suffix(".mcap")
    bench.tape("make-topics", "--data", file, "--bytes", size)
    options = ["--data", file, "--topics", "/bench/topic_7"]
    runs = [bench.tape("read", *options) for _ in range(bench.runs)]
    share = median(runs, lambda run: run["read_bytes"] / run["file_bytes"])
    memory = median(runs, "peak_rss") / (1 << 20)
    case = f"one topic of 1 % of {runs[0]['file_bytes'] / 1e9:.1f} GB"
    rows = [
        Row(f"{case}: share of the bytes that is read", f"{share:.2%}", aim="≤ 3 %", met=share <= 0.03),
        Row(f"{case}: memory", f"{memory:.0f} MiB", aim="≤ 200 MB", met=memory <= 190),
        Row(f"{case}: time", f"{median(runs, 'seconds') * 1e3:.0f} ms"),
    ]
    return Outcome(rows, {"one topic": runs})


def decode(bench: Bench) -> Outcome:
    """CDR to Arrow, all fields of an Imu, against the crate `re_ros_msg`; one field of a message; a rule over two."""
    runs = [bench.child([str(bench.programs.read_bench)]) for _ in range(bench.runs)]
    ours, peer = median(runs, "imu_to_arrow"), median(runs, "imu_to_arrow_re_ros_msg")
    rows = [
        Row(
            "decode CDR to Arrow, sensor_msgs/Imu; re_ros_msg (to a map)",
            f"{ours:.0f} ns",
            f"{peer:.0f} ns",
            f"{peer / ours:.2f} x",
            "≥ 10 x",
            peer / ours >= 10,
        ),
        Row("decode CDR to JSON, sensor_msgs/Imu", f"{median(runs, 'imu_to_json'):.0f} ns"),
    ]
    for value, what, aim in [
        ("field_behind_fixed_prefix", "a fixed prefix", 40),
        ("field_behind_text", "text", 150),
        ("field_behind_text_and_lists", "text and lists", 150),
    ]:
        ns = median(runs, value)
        rows.append(Row(f"one field of CDR behind {what}", f"{ns:.1f} ns", aim=f"≤ {aim} ns", met=ns <= aim))
    ns = median(runs, "rule_over_two_topics")
    case = "a message into the rule /imu.linear_acceleration.z > 9 and /diag.level >= 2, from CDR"
    rows.append(Row(case, f"{ns:.1f} ns", aim="≤ 60 ns", met=ns <= 60))
    return Outcome(rows, {"decode": runs})


def drop_caches() -> bool:
    """Makes the system forget what files hold; only root may."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    time.sleep(0.2)
    return True


def columns(bench: Bench) -> Outcome:
    """A ROS 1 bag as pandas against rosbags, a ULog as Arrow against pyulog; real recordings, left out where absent."""
    outcome = Outcome()
    shared = Path(os.environ.get("TAPELOOP_TEST_DATA") or PYTHON.parents[2] / "shared" / "data")
    for case, path, peer, aim in [
        ("husky", shared / "ros1" / "husky-gps" / "test1.bag", "rosbags", 20.0),
        ("ulog", shared / "ulog" / "sample_log_small.ulg", "pyulog", 10.0),
    ]:
        if not path.is_file():
            continue
        readers = {
            name: lambda name=name, path=path, case=case: bench.script("reading.py", f"{case}-{name}", path)
            for name in ["tapeloop", peer, "floor"]
        }
        runs = interleave(bench.runs, readers)
        outcome.raw |= {f"{name} {case}": values for name, values in runs.items()}
        what = "bag to pandas" if case == "husky" else "ULog to Arrow"
        ours, theirs = median(runs["tapeloop"], rate), median(runs[peer], rate)
        outcome.rows.append(ratio_row(f"Python {what} ({path.name}); {peer}", "msg/s", ours, theirs, aim))
        floor = median(runs["floor"], "seconds")
        limit = median(runs[peer], "seconds") / floor
        floors = {"husky": "only unpacking its chunks, on one core", "ulog": "only handing over columns in memory"}
        outcome.rows.append(Row(f"{what}: {floors[case]}; {peer}", f"{floor * 1e3:.1f} ms", ratio=f"{limit:.1f} x"))
    return outcome


CASES: dict[str, Callable[[Bench], Outcome]] = {
    "python": python_calls,
    "columns": columns,
    "append": rust_append,
    "topics": topics,
    "agent": agent,
    "sources": sources,
    "mixed": mixed,
    "automotive": automotive,
    "capture": capture,
    "reopen": reopen,
    "read": linear_read,
    "decode": decode,
    "one-topic": one_topic,
}
