"""The real recordings, recorded at real speed through the agent, kept, exported, and read back by PyPI's mcap."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from mcap.reader import make_reader

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("TAPELOOP_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
TAPELOOP = Path(os.environ.get("TAPELOOP_BIN_DIR", REPOSITORY / "target" / "debug")) / "tapeloop"
RECORDINGS = {"g1": "mcap/g1/g1_ros2_mcap.mcap", "comma2k19": "mcap/comma2k19/comma2k19_ros2_mcap.mcap"}


def messages(path: Path) -> Counter[tuple[object, ...]]:
    """Returns every message of a file with all that was published, except what the recorder says of itself."""
    found: Counter[tuple[object, ...]] = Counter()
    with path.open("rb") as file:
        for schema, channel, message in make_reader(file, validate_crcs=True).iter_messages():
            if channel.topic.startswith("/tapeloop/"):
                continue
            definition = (schema.name, schema.encoding, schema.data) if schema else None
            what = (channel.topic, channel.message_encoding, tuple(sorted(channel.metadata.items())), definition)
            found[(*what, message.log_time, message.publish_time, message.data)] += 1
    return found


def run(*arguments: str | Path) -> str:
    """Runs tapeloop and returns what it printed."""
    return subprocess.run([TAPELOOP, *arguments], check=True, capture_output=True, text=True).stdout


def test_real_recordings_are_kept_and_exported_exactly_at_real_speed(tmp_path: Path) -> None:
    """Both are played at the same time, each into an agent of its own: two agents on one machine work."""
    files = {name: DATA / relative for name, relative in RECORDINGS.items()}
    for file in files.values():
        if not file.exists():
            pytest.skip(f"there is no recording {file} (set TAPELOOP_TEST_DATA)")
    agents = {}
    for name, file in files.items():
        places = ["--data", tmp_path / name, "--socket", tmp_path / f"{name}.sock", "--http", "127.0.0.1:0"]
        agents[name] = subprocess.Popen([TAPELOOP, "record", "--device", name, *places, "--from", file, "--speed", "1"])
    for name, agent in agents.items():
        assert agent.wait(timeout=180) == 0, name
    for name, file in files.items():
        report = json.loads(
            run("save", "--data", tmp_path / name, "--before", "10 min", "--why", "all of it", "--json")
        )
        assert report["state"] == "complete"
        assert sum(kept["messages"] for kept in report["kept"]) >= sum(messages(file).values())
        out = tmp_path / f"{name}.mcap"
        run("export", report["recording"], "--data", tmp_path / name, "-o", out)
        assert messages(out) == messages(file), name
        info = json.loads(run("info", out, "--json"))
        assert info["losses"] == []
        run("doctor", tmp_path / name)
