"""One grid of time for many topics, against the plainest numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

import tapeloop as tl

from .sensors import SECOND, File, imu, joints, make, text

Array = npt.NDArray[Any]
rng = np.random.default_rng(3)
FAST = np.sort(rng.integers(0, 4 * SECOND, 400)) + SECOND
SLOW = np.sort(rng.integers(0, 4 * SECOND, 30)) + 2 * SECOND
# Stamps of a sensor whose messages overtake each other.
STAMPS = FAST - rng.integers(0, 20_000_000, 400)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> tl.Recording:
    path = tmp_path_factory.mktemp("drive") / "drive.mcap"
    with File(path) as file:
        for index, (time, stamp) in enumerate(zip(FAST, STAMPS, strict=True)):
            file.ros2("/imu", imu(index, int(stamp)), int(time))
        for index, time in enumerate(SLOW):
            file.ros2("/joints", joints(index, int(time)), int(time))
            file.ros2("/text", text(index), int(time))
    return tl.open(path)


def grid_of(start: int, end: int, hz: float) -> Array:
    count = int(np.floor((end - start) / SECOND * hz)) + 1
    return start + np.round(np.arange(count) * (SECOND / hz)).astype(np.int64)


def previous(times: Array, values: Array, grid: Array) -> Array:
    at = np.searchsorted(times, grid, side="right") - 1
    return np.where(at < 0, np.nan, values[np.maximum(at, 0)])


def nearest(times: Array, values: Array, grid: Array) -> Array:
    return values[np.abs(times[None, :] - grid[:, None]).argmin(axis=1)]


def linear(times: Array, values: Array, grid: Array) -> Array:
    return np.interp(grid, times, values, left=np.nan, right=np.nan)


METHODS = {"previous": previous, "nearest": nearest, "linear": linear}
COLUMNS = ["/imu.angular_velocity.x", "/joints.position[1]"]
X = np.arange(len(FAST)) + 0.25
POSITION = np.arange(len(SLOW)) + 1.0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("hz", [7.3, 50])
def test_values_are_where_numpy_puts_them(drive: tl.Recording, method: Any, hz: float) -> None:
    table = drive.align(hz=hz, columns=COLUMNS, method=method)
    assert table.columns == ["_time", *COLUMNS]
    grid = table.to_numpy("_time").astype(np.int64)
    np.testing.assert_array_equal(grid, grid_of(int(FAST[0]), int(max(FAST[-1], SLOW[-1])), hz))
    np.testing.assert_allclose(table.to_numpy(COLUMNS[0]), METHODS[method](FAST, X, grid))
    np.testing.assert_allclose(table.to_numpy(COLUMNS[1]), METHODS[method](SLOW, POSITION, grid))


def test_stamps_are_put_into_order(drive: tl.Recording) -> None:
    table = drive.align(hz=20, columns=COLUMNS[:1], time="header.stamp")
    grid = table.to_numpy("_time").astype(np.int64)
    order = np.argsort(STAMPS, kind="stable")
    assert grid[0] == STAMPS.min()
    np.testing.assert_allclose(table.to_numpy(COLUMNS[0]), previous(STAMPS[order], X[order], grid))


def test_the_span_and_the_age_are_kept(drive: tl.Recording) -> None:
    start, end = 3 * SECOND, 4 * SECOND
    table = drive.align(hz=10, columns=COLUMNS, start=start, end=end, max_age="50 ms")
    grid = table.to_numpy("_time").astype(np.int64)
    np.testing.assert_array_equal(grid, grid_of(start, end - 1, 10))
    at = np.searchsorted(SLOW, grid, side="right") - 1
    expected = np.where(grid - SLOW[at] <= 50_000_000, POSITION[at], np.nan)
    np.testing.assert_array_equal(table.to_numpy(COLUMNS[1]), expected)
    whole = drive.align(hz=10, columns=COLUMNS, start=start, end=end)
    assert not np.isnan(whole.to_numpy(COLUMNS[1])).any()


def test_simulated_time_is_what_the_clock_said_last(tmp_path: Path) -> None:
    path = tmp_path / "sim.mcap"
    step, start = SECOND // 10, 5 * SECOND
    with File(path) as file:
        # What is latched is older than the clock, and so is a value that is not.
        file.ros2("/tf_static", text(0), SECOND)
        file.ros2("/joints", joints(99, 0), SECOND)
        for tick in range(40):
            # The simulation runs at half the speed, and stands still for the last ten ticks.
            sim = 100 * SECOND + min(tick, 30) * step // 2
            time = make("builtin_interfaces/msg/Time", sec=sim // SECOND, nanosec=sim % SECOND)
            file.ros2("/clock", make("rosgraph_msgs/msg/Clock", clock=time), start + tick * step)
        for index in range(30):
            file.ros2("/joints", joints(index, 0), start + index * step + step // 3)
    sim = tl.open(path)
    table = sim.align(hz=20, columns=["/joints.position[0]", "/tf_static.data"], time="/clock")
    assert table.to_numpy("_time").astype(np.int64).tolist() == [100 * SECOND + i * step // 2 for i in range(30)]
    np.testing.assert_array_equal(table.to_numpy("/joints.position[0]"), np.arange(30.0))
    assert table.to_pandas()["/tf_static.data"].tolist() == ["message 0"] * 30
    cut = sim.align(hz=20, columns=["/joints.position[0]"], time="/clock", start=101 * SECOND, end=101 * SECOND + 1)
    assert cut.to_numpy("/joints.position[0]").tolist() == [20.0]
    with pytest.raises(tl.NotFoundError, match="time='/sim'"):
        sim.align(hz=1, time="/sim")
    with pytest.raises(tl.NotFoundError, match="clock"):
        sim.align(hz=1, time="/joints")


def test_every_signal_is_taken_unless_some_are_named(drive: tl.Recording) -> None:
    table = drive.align(hz=5)
    assert "/imu.orientation_covariance" in table.columns and "/text.data" in table.columns
    assert not any("header" in column for column in table.columns)
    assert drive.align(hz=5, topics="/te*").columns == ["_time", "/text.data"]
    assert drive.align(hz=5, columns={"/text": None, "/imu": ["header.frame_id"]}).columns == [
        "_time",
        "/text.data",
        "/imu.header.frame_id",
    ]
    taken = pa.table(table)
    assert taken["/text.data"][0].as_py() is None and taken["/text.data"][-1].as_py().startswith("message ")
    assert len(table.to_pandas()) == taken.num_rows


def test_lists_are_interpolated_by_element(drive: tl.Recording) -> None:
    table = drive.align(hz=20, columns=["/joints.position"], method="linear")
    frame = table.to_pandas()
    time = frame["_time"].astype("int64").to_numpy()
    for place in range(3):
        values = [row[place] for row in frame["/joints.position"] if row is not None]
        np.testing.assert_allclose(values, np.interp(time[: len(values)], SLOW, np.arange(len(SLOW)) + float(place)))


def test_the_last_value_of_a_latched_topic_holds(tmp_path: Path) -> None:
    with tl.recorder("r", data=tmp_path / "tape") as rec:
        rec.log("/map", {"cells": 5}, qos={"durability": "transient_local"}, log_time=0)
        for index in range(10):
            rec.log("/x", {"v": index}, log_time=index * SECOND)
        table = rec.save(start=0, end="now").open().align(hz=1, topics=["/map", "/x"], max_age=0.5)
    assert table.to_numpy("/map.cells").tolist() == [5] * 10
    assert table.to_numpy("/x.v").tolist() == list(range(10))


def test_wrong_requests_are_refused(drive: tl.Recording) -> None:
    wrong: list[tuple[type[tl.Error], str, dict[str, Any]]] = [
        (tl.InvalidError, "more than 0", {"hz": 0}),
        (tl.InvalidError, "at most", {"hz": 1e9}),
        (tl.InvalidError, "time='now'", {"hz": 1, "time": "now"}),
        (tl.InvalidError, "method='next'", {"hz": 1, "method": "next"}),
        (tl.InvalidError, "leave topics out", {"hz": 1, "topics": "/imu", "columns": COLUMNS}),
        (tl.InvalidError, "no stamp", {"hz": 1, "topics": "/text", "time": "header.stamp"}),
        (tl.NotFoundError, "begins with no topic", {"hz": 1, "columns": ["/nope.x"]}),
        (tl.NotFoundError, "'/imu' is a topic, and names no field of it", {"hz": 1, "columns": ["/imu"]}),
        (tl.NotFoundError, "no topic '/nope'", {"hz": 1, "columns": {"/nope": None}}),
        (tl.NotFoundError, "no topic matches /nope", {"hz": 1, "topics": "/nope"}),
        (tl.NotFoundError, "angular_velocity", {"hz": 1, "columns": ["/imu.angular_velocty"]}),
    ]
    for kind, message, options in wrong:
        with pytest.raises(kind, match=message):
            drive.align(**options)


def test_a_recording_without_signals_has_an_empty_grid(tmp_path: Path) -> None:
    with File(tmp_path / "a.mcap") as file:
        file.raw("/a", b"x", 1, encoding="odd", schema=("T", "", b""))
    assert tl.open(tmp_path / "a.mcap").align(hz=1).columns == ["_time"]
