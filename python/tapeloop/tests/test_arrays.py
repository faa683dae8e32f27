"""numpy arrays, images and bytes: what they become, read by an independent decoder."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import tapeloop as tl

Recorded = Callable[..., list[Any]]
Array = npt.NDArray[Any]
rng = np.random.default_rng(7)

FRAMES = {
    "rgb8": rng.integers(0, 255, (48, 64, 3), np.uint8),
    "rgba8": rng.integers(0, 255, (48, 64, 4), np.uint8),
    "mono8": rng.integers(0, 255, (48, 64), np.uint8),
    "mono16": rng.integers(0, 65535, (48, 64), np.uint16),
}


def image_fields(data: bytes) -> tuple[int, int, str, int, int, str, int, int, bytes]:
    """Decodes `sensor_msgs/msg/Image` by hand: with nothing of tapeloop."""
    assert data[:4] == b"\0\1\0\0"
    body, at = data[4:], 0

    def u32() -> int:
        nonlocal at
        at += -at % 4
        (value,) = struct.unpack_from("<I", body, at)
        at += 4
        return int(value)

    def text() -> str:
        nonlocal at
        size = u32()
        raw = body[at : at + size]
        assert raw[-1] == 0
        at += size
        return raw[:-1].decode()

    sec, nsec, frame = u32(), u32(), text()
    height, width, encoding = u32(), u32(), text()
    big_endian = body[at]
    at += 1
    step, size = u32(), u32()
    assert big_endian == 0 and len(body) == at + size
    return sec, nsec, frame, height, width, encoding, step, size, body[at:]


@pytest.mark.parametrize("encoding", FRAMES)
@pytest.mark.parametrize("layout", ["whole", "flipped", "strided", "fortran", "read-only"])
def test_a_frame_is_a_ros_image(rec: tl.Recorder, recorded: Recorded, encoding: str, layout: str) -> None:
    frame: Array = FRAMES[encoding]
    if layout == "flipped":
        frame = frame[::-1, :, ::-1] if frame.ndim == 3 else frame[::-1, ::-1]
    elif layout == "strided":
        frame = frame[::2, ::3]
    elif layout == "fortran":
        frame = np.asfortranarray(frame)
    elif layout == "read-only":
        frame = frame.copy()
        frame.setflags(write=False)
    rec.log("/camera", frame, stamp=1_700_000_000_000_000_005, frame_id="front", log_time=1_700_000_000_100_000_000)
    clip = rec.save(start=0, end="now")
    (message,) = clip["/camera"]
    sec, nsec, frame_id, height, width, written, step, size, pixels = image_fields(message.data)
    assert (sec, nsec, frame_id) == (1_700_000_000, 5, "front")
    assert (height, width, written) == (*frame.shape[:2], encoding)
    assert step == frame.shape[1] * frame.itemsize * (frame.shape[2] if frame.ndim == 3 else 1)
    assert pixels == frame.tobytes() and size == len(pixels)
    assert message.type == "sensor_msgs/msg/Image"
    np.testing.assert_array_equal(message.value, frame)


def test_the_schema_of_an_image_is_complete(rec: tl.Recorder, recorded: Recorded) -> None:
    rec.log("/camera", FRAMES["rgb8"])
    (message,) = recorded(rec, "/camera")
    definition = message.schema_data.decode()
    assert (message.encoding, message.schema_name, message.schema_encoding) == (
        "cdr",
        "sensor_msgs/msg/Image",
        "ros2msg",
    )
    parts = definition.split("=" * 80 + "\n")
    assert [part.splitlines()[0] for part in parts[1:]] == ["MSG: std_msgs/Header", "MSG: builtin_interfaces/Time"]
    assert "uint8[] data" in parts[0]


def test_the_stamp_is_the_publish_time_unless_it_is_given(rec: tl.Recorder) -> None:
    rec.log("/camera", FRAMES["mono8"], log_time=10_000_000_007, publish_time=9_000_000_005)
    rec.log("/camera", FRAMES["mono8"], log_time=11_000_000_007)
    stamps = [image_fields(message.data)[:2] for message in rec.save(start=0, end="now")["/camera"]]
    assert stamps == [(9, 5), (11, 7)]


def test_an_image_with_one_channel_is_grey(rec: tl.Recorder) -> None:
    rec.log("/camera", FRAMES["mono8"][:, :, None])
    (message,) = rec.save(before="1 h")["/camera"]
    assert message.value.shape == (48, 64)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "I;16", "P", "CMYK", "1"])
def test_a_pil_image_is_a_ros_image(rec: tl.Recorder, mode: str) -> None:
    source = Image.fromarray(FRAMES["mono16" if mode == "I;16" else "rgb8"])
    image = source if mode == "I;16" else source.convert(mode)
    rec.log("/camera", image, frame_id="front")
    (message,) = rec.save(before="1 h")["/camera"]
    kept = image if mode in ("RGB", "RGBA", "L", "I;16") else image.convert("RGB")
    np.testing.assert_array_equal(message.value, np.asarray(kept))


def test_a_compressed_image_is_logged_as_it_is(rec: tl.Recorder) -> None:
    for format in ("JPEG", "PNG"):
        file = BytesIO()
        Image.fromarray(FRAMES["rgb8"]).save(file, format)
        rec.log(f"/camera/{format}", tl.CompressedImage(file.getvalue()), frame_id="front", stamp=5)
        (message,) = rec.save(before="1 h")[f"/camera/{format}"]
        assert message.type == "sensor_msgs/msg/CompressedImage"
        assert message.data.endswith(file.getvalue())
        assert format.lower().encode() in message.data[:40]
        # Decoders of JPEG round differently.
        difference = message.value.astype(int) - np.asarray(Image.open(file))
        assert np.abs(difference).max() <= (4 if format == "JPEG" else 0)
    assert repr(tl.CompressedImage(b"x", format="jxl")) == 'CompressedImage(<1 bytes>, format="jxl")'
    with pytest.raises(tl.InvalidError, match="needs format="):
        tl.CompressedImage(b"x")


ARRAYS: list[tuple[Array, str]] = [
    (np.arange(6, dtype=np.int8), "Int8"),
    (np.arange(6, dtype=np.int16).reshape(2, 3), "Int16"),
    (np.arange(6, dtype=np.int32).reshape(1, 2, 3), "Int32"),
    (np.arange(6, dtype=np.int64)[::-1], "Int64"),
    (np.arange(6, dtype=np.uint8), "UInt8"),
    (np.arange(24, dtype=np.uint16).reshape(2, 3, 4), "UInt16"),
    (np.arange(6, dtype=np.uint32).reshape(2, 3).T, "UInt32"),
    (np.arange(6, dtype=np.uint64), "UInt64"),
    (np.arange(6, dtype=np.float32).reshape(2, 3), "Float32"),
    (np.array([[np.nan, np.inf], [-0.0, 1e-300]]), "Float64"),
    (np.array([[True, False]]), "UInt8"),
    (np.zeros((0, 3)), "Float64"),
    (np.array(2.5), "Float64"),
    (np.arange(60_000, dtype=np.float64).reshape(200, 300)[::2, ::-1], "Float64"),
    (np.arange(48, dtype=np.uint8).reshape(2, 2, 2, 6), "UInt8"),
]


@pytest.mark.parametrize(
    ("array", "kind"), ARRAYS, ids=lambda value: value if isinstance(value, str) else str(value.shape)
)
def test_an_array_is_a_multi_array(rec: tl.Recorder, recorded: Recorded, array: Array, kind: str) -> None:
    rec.log("/array", array)
    (message,) = rec.save(before="1 h")["/array"]
    assert message.type == f"std_msgs/msg/{kind}MultiArray"
    assert message.value.shape == array.shape
    np.testing.assert_array_equal(message.value, array.astype(message.value.dtype))
    (other,) = recorded(rec, "/array")
    assert other.data == message.data
    assert f"{kind.lower()}[] data".encode() in other.schema_data
    assert b"MSG: std_msgs/MultiArrayDimension" in other.schema_data


def test_a_multi_array_whose_dimensions_do_not_fit_is_a_dict(rec: tl.Recorder) -> None:
    schema = tl.Schema("std_msgs/msg/Float64MultiArray", "ros2msg", "")
    layout = struct.pack("<II5s3xIII", 1, 5, b"dim0\0", 7, 7, 0)
    rec.log("/array", b"\0\1\0\0" + layout + struct.pack("<Idd", 2, 1.5, 2.5), schema=schema, encoding="cdr")
    (message,) = rec.save(before="1 h")["/array"]
    assert message.value["data"] == [1.5, 2.5]
    assert message.value["layout"]["dim"] == [{"label": "dim0", "size": 7, "stride": 7}]
    assert message.value == message.fields


def test_a_multi_array_is_aligned_as_ros_aligns_it(rec: tl.Recorder) -> None:
    rec.log("/array", np.array([1.5, 2.5]))
    (message,) = rec.save(before="1 h")["/array"]
    # one dimension: "dim0", size 2, stride 2; offset 0; two doubles, aligned to 8 from behind the header
    layout = struct.pack("<II5s3xIII", 1, 5, b"dim0\0", 2, 2, 0)
    assert message.data == b"\0\1\0\0" + layout + struct.pack("<Idd", 2, 1.5, 2.5)


def test_doubles_are_padded_where_they_must_be(rec: tl.Recorder) -> None:
    rec.log("/array", np.array(2.5))
    (message,) = rec.save(before="1 h")["/array"]
    # no dimension, offset 0, one double: 12 bytes, then 4 of padding
    assert message.data == b"\0\1\0\0" + struct.pack("<III4xd", 0, 0, 1, 2.5)


@pytest.mark.parametrize("dtype", ["c16", "f2", "M8[ns]", "O", "U3", "V4", ">i4"])
def test_an_array_of_something_else_is_refused(rec: tl.Recorder, dtype: str) -> None:
    with pytest.raises(tl.InvalidError, match="can be logged"):
        rec.log("/array", np.zeros(3, dtype))


def test_whatever_numpy_makes_an_array_of_is_one(rec: tl.Recorder) -> None:
    class Tensor:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
            return np.arange(3.0)

    rec.log("/tensor", Tensor())
    rec.log("/dict", {"tensor": Tensor()})
    clip = rec.save(before="1 h")
    assert next(clip["/tensor"].messages()).value.tolist() == [0, 1, 2]
    assert next(clip["/dict"].messages()).value == {"tensor": [0, 1, 2]}


@pytest.mark.parametrize("size", [0, 1, 1000, 64 << 10, 3 << 20])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_logged_as_they_are(rec: tl.Recorder, recorded: Recorded, size: int, kind: Any) -> None:
    payload = rng.bytes(size)
    schema = tl.Schema("my/Type", "protobuf", b"\x01\x02")
    rec.log("/plain", kind(payload))
    rec.log("/typed", kind(payload), schema=schema)
    rec.log("/odd", kind(payload), encoding="x-mine")
    messages = {message.topic: message for message in recorded(rec)}
    assert {message.data for message in messages.values()} == {payload}
    assert [messages[topic].encoding for topic in ("/plain", "/typed", "/odd")] == ["x-bytes", "protobuf", "x-mine"]
    assert messages["/typed"].schema_name == "my/Type" and messages["/typed"].schema_data == b"\x01\x02"
    assert messages["/plain"].schema_name == ""


@pytest.mark.parametrize(
    ("schema_encoding", "encoding"),
    [
        ("ros2msg", "cdr"),
        ("ros1msg", "ros1"),
        ("protobuf", "protobuf"),
        ("flatbuffer", "flatbuffer"),
        ("jsonschema", "json"),
    ],
)
def test_the_encoding_follows_from_the_schema(rec: tl.Recorder, schema_encoding: str, encoding: str) -> None:
    rec.log("/t", b"{}", schema=tl.Schema("T", schema_encoding, b"x"))
    (message,) = rec.save(before="1 h")["/t"]
    assert message.encoding == encoding
    assert message.schema == tl.Schema("T", schema_encoding, b"x")


def test_an_unknown_schema_needs_an_encoding(rec: tl.Recorder) -> None:
    schema = tl.Schema("T", "x-own", b"x")
    with pytest.raises(tl.InvalidError, match="need encoding="):
        rec.log("/t", b"abc", schema=schema)
    rec.log("/t", b"abc", schema=schema, encoding="x-mine")


def test_an_array_takes_no_schema(rec: tl.Recorder) -> None:
    with pytest.raises(tl.InvalidError, match="has its own schema"):
        rec.log("/t", FRAMES["rgb8"], schema=tl.Schema("T", "ros2msg", b""))
    with pytest.raises(tl.InvalidError, match="image's header"):
        rec.log("/t", np.zeros(3), stamp=5)
