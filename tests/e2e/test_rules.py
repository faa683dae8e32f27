"""Rules over real recordings: when they fire is worked out once more with numpy, from decoded columns."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tapeloop as tl
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PROGRAMS = Path(os.environ.get("TAPELOOP_BIN_DIR", TARGET / "debug"))
DATA = Path(os.environ.get("TAPELOOP_TEST_DATA", ROOT.parent / "shared" / "data"))
CAR = DATA / "mcap/comma2k19/comma2k19_ros2_mcap.mcap"
HUSKY = DATA / "ros1/husky-gps/test1.bag"
ODOM = "/husky_velocity_controller/odom"
TICK_NS = 100_000_000
MS = 1_000_000

Times = NDArray[np.int64]
Truth = NDArray[np.bool_]

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the recordings of ../shared/data are not here")


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TZ": "UTC",
        "TAPELOOP_SOCKET": str(folder / "no.sock"),
        "STATE_DIRECTORY": str(folder / "state"),
    }
    command = [str(PROGRAMS / "tapeloop"), "rule", *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def tried(folder: Path, over: Path, when: str, **keys: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what `rule test` says of one rule, and of all."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    (folder / "rules.toml").write_text("\n".join(["[[rule]]", "name = 'test'", f'when = "{when}"', *lines]))
    done = run(folder, "test", "rules.toml", "--over", over, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    (rule,) = answer["rules"]
    return rule, answer


def fired(rule: dict[str, Any]) -> list[int]:
    return [firing["time_ns"] for firing in rule["firings"]]


def times(recording: tl.Recording, topic: str) -> Times:
    return np.array([message.log_time for message in recording[topic]], dtype=np.int64)


def latest(at: Times, stamps: Times, values: NDArray[Any]) -> NDArray[Any]:
    """Returns the last value at or before each time, NaN before the first."""
    place = np.searchsorted(stamps, at, side="right") - 1
    return np.where(place < 0, np.nan, values[np.maximum(place, 0)])


def rising(at: Times, truth: Truth) -> list[int]:
    before = np.concatenate([[False], truth[:-1]])
    return at[truth & ~before].tolist()


def test_hard_braking_of_a_car(tmp_path: Path) -> None:
    recording = tl.open(CAR)
    accelerated, drove = times(recording, "/imu/accel"), times(recording, "/can/speed")
    acceleration, speed = recording["/imu/accel"].to_numpy("vector.x"), recording["/can/speed"].to_numpy("data")
    at = np.union1d(accelerated, drove)
    assert len(at) == len(accelerated) + len(drove), "no two messages at one time"
    truth = (latest(at, accelerated, acceleration) < -1.5) & (latest(at, drove, speed) > 10)
    end = max(times(recording, topic)[-1] for topic in recording.topics)

    hold, cooldown, before, after = 40 * MS, 700 * MS, 300 * MS, 200 * MS
    expected: list[int] = []
    passed_over = 0
    for start in rising(at, truth):
        untrue = at[(at > start) & ~truth]
        if (untrue[0] if len(untrue) else end) < start + hold:
            continue
        if expected and start + hold < expected[-1] + cooldown:
            passed_over += 1
        else:
            expected.append(start + hold)
    assert len(expected) > 5
    assert passed_over > 0

    rule, answer = tried(
        tmp_path,
        CAR,
        "/imu/accel.vector.x < -1.5 and /can/speed.data > 10",
        hold="40 ms",
        cooldown="700 ms",
        before="300 ms",
        after="200 ms",
        topics=["/imu/*", "/can/speed"],
    )
    assert fired(rule) == expected
    assert rule["in_cooldown"] == passed_over
    assert rule["exact"]
    first = rule["firings"][0]
    assert first["values"]["/can/speed.data"] == latest(np.array(expected[:1]), drove, speed)[0]

    kept = 0
    for topic in ("/imu/accel", "/imu/gyro", "/can/speed"):
        stamps = times(recording, topic)
        sizes = np.array([len(message.data) for message in recording[topic]])
        inside = np.zeros(len(stamps), dtype=bool)
        for firing in expected:
            inside |= (stamps >= firing - before) & (stamps < firing + after)
        kept += int(sizes[inside].sum())
    assert rule["bytes_kept"] == kept
    covered = answer["covered_ns"]
    assert covered == end - min(times(recording, topic)[0] for topic in recording.topics)
    assert rule["firings_per_day"] == pytest.approx(len(expected) * 86_400e9 / covered)


def test_a_fence_around_a_place(tmp_path: Path) -> None:
    recording = tl.open(HUSKY)
    at, lat, lon = (times(recording, "/fix"), *(recording["/fix"].to_numpy(name) for name in ("latitude", "longitude")))
    lat0, lon0, metres = 42.376, -71.1475, 40
    half = np.sin(np.radians(lat - lat0) / 2) ** 2
    half += np.cos(np.radians(lat)) * np.cos(np.radians(lat0)) * np.sin(np.radians(lon - lon0) / 2) ** 2
    truth = 2 * 6_371_008.8 * np.arcsin(np.sqrt(half)) <= metres
    for when, expected in [
        (f"within(/fix.latitude, /fix.longitude, {lat0}, {lon0}, {metres})", rising(at, truth)),
        (
            f"not within(/fix.latitude, /fix.longitude, {lat0}, {lon0}, {metres}) and /fix.latitude > 0",
            rising(at, ~truth),
        ),
    ]:
        assert expected
        rule, _ = tried(tmp_path, HUSKY, when)
        assert fired(rule) == expected


def test_a_topic_that_is_silent(tmp_path: Path) -> None:
    recording = tl.open(HUSKY)
    stamps = times(recording, ODOM)
    start = min(times(recording, topic)[0] for topic in recording.topics)
    end = max(times(recording, topic)[-1] for topic in recording.topics)
    ticks = np.arange(start // TICK_NS + 1, end // TICK_NS + 1, dtype=np.int64) * TICK_NS

    # At a tick, messages at that very time have not come yet.
    last = np.concatenate([[start], stamps])[np.searchsorted(stamps, ticks, side="left")]
    at = np.concatenate([ticks, stamps])
    # Behind its message a topic is not silent.
    truth = np.concatenate([(ticks - last) / 1e9 > 0.11, np.zeros(len(stamps), dtype=bool)])
    order = np.argsort(at, kind="stable")
    expected = rising(at[order], truth[order])
    assert 1 < len(expected) < len(stamps)
    rule, _ = tried(tmp_path, HUSKY, f"age({ODOM}) > 110ms")
    assert fired(rule) == expected
    assert all(firing["values"][f"age({ODOM})"] > 0.11 for firing in rule["firings"])

    whole = ticks[ticks - 1_000 * MS >= start]
    counted = np.searchsorted(stamps, whole, side="left") - np.searchsorted(stamps, whole - 1_000 * MS, side="left")
    expected = rising(whole, counted / 1.0 < 10)
    assert expected
    rule, _ = tried(tmp_path, HUSKY, f"rate({ODOM}, 1s) < 10")
    assert fired(rule) == expected


def test_a_bag_and_its_conversion_fire_alike(tmp_path: Path) -> None:
    converted = tmp_path / "husky.mcap"
    command = [str(PROGRAMS / "tapeloop"), "convert", str(HUSKY), "-o", str(converted)]
    subprocess.run(command, check=True, capture_output=True)
    when = "abs(delta(/imu/data.angular_velocity.z)) > 0.1 and /fix.status.status >= 0"
    bag, mcap = (tried(tmp_path, path, when, cooldown="1 s")[0] for path in (HUSKY, converted))
    assert fired(bag)
    assert bag["firings"] == mcap["firings"]


def test_a_name_that_is_not_there_is_answered_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text("[[rule]]\nname = 'a'\nwhen = '/imu/acel.vector.x < -3'\n")
    done = run(tmp_path, "check", "rules.toml", "--over", CAR)
    assert done.returncode == 1
    assert "rules.toml line 3: rule 'a', at character 1" in done.stderr
    assert "there are /imu/accel, " in done.stderr
