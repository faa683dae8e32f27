"""Times and durations in every form in which programs write them."""

from __future__ import annotations

import datetime
import time
from typing import Any

import numpy as np
import pytest

import tapeloop as tl

NOON = datetime.datetime(2025, 11, 22, 12, 0, 0, 123456, tzinfo=datetime.timezone.utc)
NOON_NS = 1_763_812_800_123_456_000


@pytest.mark.parametrize(
    "moment",
    [
        NOON_NS,
        np.int64(NOON_NS),
        NOON,
        NOON.astimezone(datetime.timezone(datetime.timedelta(hours=9))),
        NOON.astimezone().replace(tzinfo=None),
        np.datetime64(NOON_NS, "ns"),
        np.datetime64("2025-11-22T12:00:00.123456"),
        "2025-11-22T12:00:00.123456Z",
        "2025-11-22T13:00:00.123456+01:00",
        str(NOON_NS),
    ],
    ids=repr,
)
def test_a_moment_is_said_in_many_ways(rec: tl.Recorder, moment: Any) -> None:
    rec.log("/t", {"x": 1}, log_time=moment, publish_time=moment)
    (message,) = rec.save(start=NOON_NS, end=NOON_NS + 1)["/t"]
    assert (message.log_time, message.publish_time) == (NOON_NS, NOON_NS)


def test_ago_and_clock_times_are_seen_from_now(rec: tl.Recorder) -> None:
    rec.log("/t", {"x": 1}, log_time="10 min ago")
    (message,) = rec.save(start="11 min ago")["/t"]
    assert abs(message.log_time - (time.time_ns() - 600 * 10**9)) < 60 * 10**9
    assert list(rec.save(before="1 min")["/t"]) == [] if "/t" in rec.save(before="1 min").topics else True


@pytest.mark.parametrize(
    ("moment", "message"),
    [
        (1.5, "a float cannot hold nanoseconds"),
        (True, "not a time"),
        ("noon", "not a time: 'noon'"),
        (None.__class__, "not a time"),
        (2**63, "64 bits"),
        (-1, "before 1970"),
        (np.datetime64("NaT", "ns"), "NaT"),
        (datetime.datetime(9999, 1, 1), "64 bits"),
    ],
    ids=repr,
)
def test_what_is_no_moment_is_refused(rec: tl.Recorder, moment: Any, message: str) -> None:
    with pytest.raises(tl.InvalidError, match=message):
        rec.log("/t", {"x": 1}, log_time=moment)


def test_the_times_default_to_now_and_to_each_other(rec: tl.Recorder) -> None:
    before = time.time_ns()
    rec.log("/t", {"x": 1})
    rec.log("/t", {"x": 2}, log_time=NOON_NS)
    rec.log("/t", {"x": 3}, publish_time=5)
    after = time.time_ns()
    by_value = {message.value["x"]: message for message in rec.save(start=0, end="now")["/t"]}
    assert before <= by_value[1].log_time == by_value[1].publish_time <= after
    assert by_value[2].log_time == by_value[2].publish_time == NOON_NS
    assert before <= by_value[3].log_time <= after and by_value[3].publish_time == 5


@pytest.mark.parametrize(
    "duration", [30, 30.0, "30 s", "0.5 min", datetime.timedelta(seconds=30), np.float64(30)], ids=repr
)
def test_a_duration_is_said_in_many_ways(rec: tl.Recorder, duration: Any) -> None:
    report = rec.save(before=duration, at=NOON_NS).report
    assert report["asked"]["start_ns"] == NOON_NS - 30 * 10**9


@pytest.mark.parametrize(
    ("duration", "message"),
    [
        (-1, "negative"),
        (datetime.timedelta(seconds=-1), "negative"),
        ("-1 s", "not a duration"),
        ("3 parsecs", "not a duration"),
        (True, "not a duration: True"),
        (1e12, "292 years"),
        (float("nan"), "292 years"),
        ([1], "not a duration"),
    ],
    ids=repr,
)
def test_what_is_no_duration_is_refused(rec: tl.Recorder, duration: Any, message: str) -> None:
    with pytest.raises(tl.InvalidError, match=message):
        rec.save(before=duration)
