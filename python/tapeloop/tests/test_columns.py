"""Topics as columns: Arrow, pandas, numpy; and how late messages are."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import tapeloop as tl

from .sensors import SECOND, File, imu, joints, text, write
from .test_reading import SHARED

COUNT = 200


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> tl.Recording:
    """Two hundred messages of an IMU, of joints and of text; each 1 ms and some after its stamp."""
    path = tmp_path_factory.mktemp("drive") / "drive.mcap"
    with File(path) as file:
        for index in range(COUNT):
            stamp = 10 * SECOND + index * 5_000_000
            file.ros2("/imu", imu(index, stamp), stamp + 1_000_000 + index)
            file.ros2("/joints", joints(index, stamp, 3 if index % 2 else 2), stamp + 2_000_000)
            file.ros2("/text", text(index // 10), stamp + 3_000_000)
    return tl.open(path)


def test_a_topic_is_an_arrow_table(drive: tl.Recording) -> None:
    table = pa.table(drive["/imu"].to_arrow())
    assert table.num_rows == COUNT
    assert table.column_names[:4] == ["_time", "_publish_time", "_stamp", "header"]
    assert table.schema.field("_time").type == pa.timestamp("ns", "UTC")
    stamps = table["_stamp"].cast(pa.int64()).to_pylist()
    assert stamps == [10 * SECOND + index * 5_000_000 for index in range(COUNT)]
    assert table["_time"].cast(pa.int64())[5].as_py() == stamps[5] + 1_000_005
    row = table["angular_velocity"][7].as_py()
    assert row == {"x": 7.25, "y": -7.0, "z": 0.5}
    assert table["orientation_covariance"][2].as_py() == list(np.arange(9.0) + 2)
    assert pa.schema(drive["/imu"].to_arrow()) == table.schema


def test_columns_are_chosen_by_path(drive: tl.Recording) -> None:
    columns = ["angular_velocity.x", "header.stamp", "orientation_covariance[3]"]
    table = drive["/imu"].to_arrow(columns=columns)
    assert table.columns == ["_time", "_publish_time", "_stamp", *columns]
    taken = pa.table(table)
    assert taken["angular_velocity.x"].to_pylist() == [index + 0.25 for index in range(COUNT)]
    assert taken["header.stamp"][0].as_py() == {"sec": 10, "nanosec": 0}
    assert taken["orientation_covariance[3]"].to_pylist() == [index + 3.0 for index in range(COUNT)]
    assert pa.table(drive["/imu"].to_arrow(["_time"])).column_names == ["_time", "_publish_time", "_stamp"]


def test_a_table_is_read_again_each_time(drive: tl.Recording) -> None:
    table = drive["/imu"].to_arrow(["angular_velocity.x"], start=10 * SECOND + (COUNT - 1) * 5_000_000)
    first = pa.table(table)
    assert first.num_rows == 1 and first == pa.table(table)
    assert pa.table(drive["/imu"].to_arrow(end=0)).num_rows == 0


def test_rows_come_batch_by_batch(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mcap", (("/t", text(index), index) for index in range(70_000)))
    reader = pa.RecordBatchReader.from_stream(tl.open(path)["/t"].to_arrow())
    sizes = [batch.num_rows for batch in reader]
    assert sizes == [1 << 16, 70_000 - (1 << 16)]


def test_a_field_that_is_not_there_is_told_with_the_nearest(drive: tl.Recording) -> None:
    for ask in (drive["/imu"].to_arrow, drive["/imu"].to_pandas):
        with pytest.raises(tl.NotFoundError, match="angular_velocity"):
            ask(columns=["angular_velocty.x"])
    with pytest.raises(tl.NotFoundError, match="angular_velocity"):
        drive["/imu"].to_numpy("angular_velocty")
    with pytest.raises(TypeError):
        drive["/imu"].to_arrow([], 0)  # type: ignore[misc]


def test_a_topic_is_a_data_frame(drive: tl.Recording) -> None:
    frame: Any = drive["/imu"].to_pandas()
    assert list(frame.columns[:7]) == [
        "_time",
        "_publish_time",
        "_stamp",
        "header.stamp.sec",
        "header.stamp.nanosec",
        "header.frame_id",
        "orientation.x",
    ]
    assert str(frame["_time"].dtype) == "datetime64[ns, UTC]"
    assert frame["_stamp"][0] == pd.Timestamp(10, unit="s", tz="UTC")
    assert frame["header.stamp.sec"].dtype == np.int32 and frame["angular_velocity.x"].dtype == np.float64
    assert frame["angular_velocity.x"].tolist() == [index + 0.25 for index in range(COUNT)]
    assert np.isnan(frame["angular_velocity.z"][3]) and frame["angular_velocity.z"].count() == COUNT - 1
    assert frame["header.frame_id"].tolist() == ["imu"] * COUNT
    np.testing.assert_array_equal(frame["orientation_covariance"][5], np.arange(9.0) + 5)
    frame["angular_velocity.x"] += 1
    assert frame["angular_velocity.x"][0] == 1.25
    joints: Any = drive["/joints"].to_pandas(columns=["name", "position"])
    assert joints["name"][0] == ["joint0", "joint1"] and joints["position"][1].tolist() == [1.0, 2.0, 3.0]
    assert drive["/text"].to_pandas()["data"].tolist() == [f"message {index // 10}" for index in range(COUNT)]
    assert len(drive["/text"].to_pandas(end=0)) == 0


def test_a_data_frame_is_what_arrow_says(drive: tl.Recording) -> None:
    for topic in drive.topics:
        ours = drive[topic].to_pandas()
        table = pa.table(drive[topic].to_arrow())
        while any(pa.types.is_struct(field.type) for field in table.schema):
            table = table.flatten()
        assert list(ours.columns) == table.column_names
        for name in table.column_names:
            for one, other in zip(ours[name], table[name].to_pylist(), strict=True):
                if other is not None:
                    np.testing.assert_equal(one.tolist() if isinstance(one, np.ndarray) else one, other)
                else:
                    assert pd.isna(one)


def test_a_field_is_a_numpy_array(drive: tl.Recording) -> None:
    view = drive["/imu"]
    x = view.to_numpy("angular_velocity.x")
    assert x.dtype == np.float64 and x.tolist() == [index + 0.25 for index in range(COUNT)]
    assert view.to_numpy("orientation_covariance").shape == (COUNT, 9)
    assert view.to_numpy("_time").dtype == np.dtype("M8[ns]")
    assert view.to_numpy("header.frame_id").tolist() == ["imu"] * COUNT
    ragged = drive["/joints"].to_numpy("position")
    assert ragged.dtype == object and ragged[1].tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(tl.InvalidError, match=r"'header.stamp' has parts: choose one of 'header.stamp.sec'"):
        view.to_numpy("header.stamp")
    assert view.to_arrow().to_numpy("header.stamp.sec").tolist() == [10 + index * 5 // 1000 for index in range(COUNT)]


def test_messages_say_how_late_they_are(drive: tl.Recording) -> None:
    late = [1_000_000 + index for index in range(COUNT)]
    assert drive["/imu"].latency() == {
        "count": COUNT,
        "min_ns": late[0],
        "median_ns": late[COUNT // 2 - 1],
        "p95_ns": late[COUNT * 95 // 100 - 1],
        "max_ns": late[-1],
    }
    assert drive["/text"].latency() is None


def test_fields_are_listed_in_order(drive: tl.Recording) -> None:
    fields = drive["/imu"].fields
    assert list(fields)[:3] == ["header.stamp.sec", "header.stamp.nanosec", "header.frame_id"]
    assert fields["orientation_covariance"] == "9 of float64" and fields["header.frame_id"] == "text"


def test_a_topic_whose_schema_changes_has_all_columns(tmp_path: Path) -> None:
    with tl.recorder("r", data=tmp_path / "tape") as rec:
        for index in range(6):
            rec.log("/t", {"a": index} if index % 2 else {"a": index, "b": "x"}, log_time=1000 + index)
            rec.log("/u", {"a": 1.5} if index % 2 else {"a": "text"}, log_time=1000 + index)
        clip = rec.save(start=0, end="now")
        frame = clip["/t"].to_pandas()
        assert frame["a"].tolist() == [0, 1, 2, 3, 4, 5]
        assert [value if isinstance(value, str) else None for value in frame["b"]] == ["x", None] * 3
        mixed = pa.table(clip["/u"].to_arrow()).drop_columns(["_time", "_publish_time", "_stamp"]).to_pydict()
        assert sorted(mixed) == ["a", "a__float64"] or sorted(mixed) == ["a", "a__text"]
        assert sum(value is not None for column in mixed.values() for value in column) == 6


def test_damaged_payloads_are_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    with File(path) as file:
        for index in range(10):
            file.ros2("/imu", imu(index, SECOND), index)
        (channel,) = file.channels.values()
        file.writer.add_message(channel, 5, b"\0\1\0\0short", 5)
    table = tl.open(path)["/imu"].to_arrow(["angular_velocity.x"])
    assert pa.table(table).num_rows == 10
    (loss,) = table.losses
    assert (loss["topic"], loss["start_ns"], loss["messages"]) == ("/imu", 5, 1)


def test_a_topic_of_which_nothing_can_be_decoded_raises(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    with File(path) as file:
        for index in range(10):
            file.raw("/a", b"\0\1\0\0x", index, encoding="cdr", schema=("T", "ros2msg", b"float64 x"))
        file.raw("/b", b"x", 0, encoding="cdr", schema=("odd/msg/T", "ros2msg", b"odd/Missing x"))
    recording = tl.open(path)
    with pytest.raises(tl.CorruptError):
        recording["/a"].to_pandas()
    with pytest.raises(tl.InvalidError, match="odd/"):
        recording["/b"].to_pandas()
    with pytest.raises(tl.InvalidError, match="odd/"):
        _ = next(recording.messages("/b")).value


def test_a_notebook_shows_topics_and_fields(drive: tl.Recording, tmp_path: Path) -> None:
    drive.info()
    shown: Any = drive
    assert "<td>/imu</td><td>sensor_msgs/msg/Imu</td><td>cdr</td><td>200</td>" in shown._repr_html_()
    view: Any = drive["/imu"]
    assert "<td>angular_velocity.x</td><td>float64</td>" in view._repr_html_()
    with File(tmp_path / "a.mcap") as file:
        file.raw("/<script>", b"", 0, encoding="<b>", schema=("<i>", "", b""))
    odd: Any = tl.open(tmp_path / "a.mcap")
    assert "<script>" not in odd._repr_html_() and "<b>" not in odd["/<script>"]._repr_html_()
    table = drive["/imu"].to_arrow(["angular_velocity.x"])
    assert (
        repr(table) == "<tapeloop.Table: _time: time, _publish_time: time, _stamp: time, angular_velocity.x: float64>"
    )


def test_reading_needs_neither_numpy_nor_pandas(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mcap", [("/imu", imu(1, SECOND), 5)])
    code = f"""
import sys
sys.modules["numpy"] = sys.modules["pandas"] = None
import tapeloop as tl
recording = tl.open({str(path)!r})
assert next(recording.messages()).value["angular_velocity"]["x"] == 1.25
assert recording["/imu"].latency()["count"] == 1
try:
    recording["/imu"].to_pandas()
except tl.InvalidError as error:
    assert "pip install pandas" in str(error)
else:
    raise SystemExit("pandas was there")
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("name", ["ros1/husky-gps/test1.bag", "mcap/comma2k19/comma2k19_ros2_mcap.mcap"])
def test_real_columns_are_what_rosbags_reads(name: str) -> None:
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    recording = tl.open(path)
    for topic, view in recording.topics.items():
        values = [message.value for message in view.messages()]
        rows = pa.table(view.to_arrow()).drop_columns(["_time", "_publish_time", "_stamp"]).to_pylist()
        assert len(values) == len(rows)
        for value, row in zip(values[:200], rows[:200], strict=True):
            np.testing.assert_equal(plain(value), plain(row), err_msg=topic)


def plain(value: Any) -> Any:
    """Returns a value without the difference between bytes, arrays and lists."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray | list | bytes):
        return [plain(part) for part in (value.tolist() if isinstance(value, np.ndarray) else value)]
    return value


def test_text_that_holds_json_is_what_it_says(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"any": {}, "n": {"type": "number"}}}
    with File(tmp_path / "a.mcap") as file:
        payload = json.dumps({"any": {"x": [1, None]}, "n": 1}).encode()
        file.raw("/a", payload, 0, encoding="json", schema=("T", "jsonschema", json.dumps(schema).encode()))
    frame = tl.open(tmp_path / "a.mcap")["/a"].to_pandas()
    assert frame["n"].tolist() == [1.0]


@pytest.fixture
def undescribed(tmp_path: Path) -> tl.Recording:
    """JSON without a schema, of which one message is none; and CDR of which two messages are damaged."""
    path = tmp_path / "plain.mcap"
    with File(path) as file:
        channel = file.writer.register_channel("/plain", "json", 0)
        for index in range(6):
            value = {"a": index, "n": {"y": [1, 2]}, "header": {"stamp": {"sec": 1, "nsec": index}}}
            payload = b"{oops" if index == 2 else json.dumps(value).encode()
            file.writer.add_message(channel, index * SECOND, payload, index * SECOND)
            damaged = index in (1, 3)
            data = b"\0\1\0\0\1" if damaged else struct.pack("<4sf", b"\0\1\0\0", index)
            file.raw("/cdr", data, index * SECOND, encoding="cdr", schema=("p/msg/T", "ros2msg", b"float32 x"))
    return tl.open(path)


@pytest.mark.filterwarnings("ignore:.*could not be decoded")
def test_json_that_nothing_describes_has_the_columns_of_its_first_messages(undescribed: tl.Recording) -> None:
    view = undescribed["/plain"]
    assert view.fields["a"] == "uint64" or view.fields["a"] == "int64"
    assert view.to_numpy("a").tolist() == [0, 1, 3, 4, 5]
    frame: Any = view.to_pandas(["a", "n.y"])
    assert frame["n.y"][1].tolist() == [1, 2]
    assert undescribed.align(hz=1, columns=["/plain.a"]).to_numpy("/plain.a").tolist() == [0, 1, 1, 3, 4, 5]
    latency = view.latency()
    assert latency is not None and latency["count"] == 6 - 1


def test_what_cannot_be_decoded_is_told_by_warnings_and_attributes(undescribed: tl.Recording) -> None:
    told = "2 messages on '/cdr' could not be decoded and are left out: "
    with pytest.warns(UserWarning, match=told):
        frame = undescribed["/cdr"].to_pandas()
    assert frame["x"].tolist() == [0, 2, 4, 5]
    assert [loss["start_ns"] for loss in frame.attrs["losses"]] == [SECOND, 3 * SECOND]
    with pytest.warns(UserWarning, match=told):
        assert len(undescribed["/cdr"].to_numpy("x")) == 4
    with pytest.warns(UserWarning, match=told):
        grid = undescribed.align(hz=1, columns=["/cdr.x"])
    assert len(grid.losses) == 2
    table = undescribed["/cdr"].to_arrow()
    assert table.losses == []
    pa.table(table)
    assert len(table.losses) == 2


def test_a_column_may_be_a_text_and_nothing_else(drive: tl.Recording) -> None:
    assert drive["/imu"].to_arrow("angular_velocity.x").columns[3:] == ["angular_velocity.x"]
    wrong: Any = ["angular_velocity.x"]
    with pytest.raises(tl.InvalidError, match="a column is text"):
        drive["/imu"].to_numpy(wrong)
    with pytest.raises(tl.InvalidError, match="a column is text"):
        drive["/imu"].to_arrow().to_numpy(wrong)
    with pytest.raises(tl.InvalidError, match="columns are text or a list of texts, not 5"):
        drive["/imu"].to_arrow(5)  # type: ignore[arg-type]
