"""Pictures: every encoding, against Pillow, PyAV and plain numpy."""

from __future__ import annotations

import base64
import json
import struct
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import tapeloop as tl

from .sensors import File, compressed, image, text, write
from .test_reading import SHARED

Array = npt.NDArray[Any]
HEIGHT, WIDTH = 24, 32


def picture() -> Array:
    """Returns RGB pixels without sharp edges."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([x * 8, y * 10, (x + y) * 4], axis=-1).astype(np.uint8)


RGB = picture()
GREY = np.asarray(Image.fromarray(RGB).convert("L"))
DEPTH = (np.arange(HEIGHT * WIDTH, dtype=np.uint16) * 80).reshape(HEIGHT, WIDTH)


def frames(tmp_path: Path, message: Any, **options: Any) -> list[tl.Frame]:
    path = write(tmp_path / "a.mcap", [("/camera", message, 1000)])
    return list(tl.open(path).frames("/camera", **options))


def pixels(tmp_path: Path, message: Any, **options: Any) -> Array:
    (frame,) = frames(tmp_path, message, **options)
    return frame.pixels


COLOURS: dict[str, tuple[Array, Array]] = {
    "rgb8": (RGB, RGB),
    "bgr8": (RGB[:, :, ::-1], RGB),
    "rgba8": (np.dstack([RGB, GREY]), RGB),
    "bgra8": (np.dstack([RGB[:, :, ::-1], GREY]), RGB),
    "8UC3": (RGB[:, :, ::-1], RGB),
    "rgb16": (RGB.astype(np.uint16) * 257, RGB),
    "bgr16": (RGB[:, :, ::-1].astype(np.uint16) * 257, RGB),
    "mono8": (GREY, np.dstack([GREY] * 3)),
    "8UC1": (GREY, np.dstack([GREY] * 3)),
    "mono16": (GREY.astype(np.uint16) * 257, np.dstack([GREY] * 3)),
}


@pytest.mark.parametrize("encoding", COLOURS)
@pytest.mark.parametrize("padding", [0, 5])
def test_raw_pixels_become_each_format(tmp_path: Path, encoding: str, padding: int) -> None:
    stored, rgb = COLOURS[encoding]
    message = image(stored, encoding, padding=padding)
    np.testing.assert_array_equal(pixels(tmp_path, message), rgb)
    np.testing.assert_array_equal(pixels(tmp_path, message, format="bgr"), rgb[:, :, ::-1])
    np.testing.assert_array_equal(pixels(tmp_path, message, format="native"), stored)
    grey = pixels(tmp_path, message, format="gray")
    assert grey.shape == (HEIGHT, WIDTH) and np.abs(grey.astype(int) - GREY).max() <= 1


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<f4", ">f4"])
def test_depth_comes_as_it_is(tmp_path: Path, dtype: str) -> None:
    depth = DEPTH.astype(dtype)
    message = image(depth, "16UC1" if dtype.endswith("u2") else "32FC1", big_endian=int(dtype[0] == ">"))
    for format in ("rgb", "native"):
        read = pixels(tmp_path, message, format=format)
        assert read.dtype == np.dtype(dtype).newbyteorder("=")
        np.testing.assert_array_equal(read, DEPTH)


def mosaic(rgb: Array, pattern: str) -> Array:
    """Returns what a sensor behind a Bayer filter sees."""
    seen = np.zeros(rgb.shape[:2], rgb.dtype)
    for place, colour in enumerate(pattern):
        y, x = divmod(place, 2)
        seen[y::2, x::2] = rgb[y::2, x::2, "rgb".index(colour)]
    return seen


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_a_bayer_mosaic_is_interpolated(tmp_path: Path, pattern: str) -> None:
    read = pixels(tmp_path, image(mosaic(RGB, pattern), f"bayer_{pattern}8"))
    # The picture is a plane in each colour, which linear interpolation keeps inside of the edges.
    assert np.abs(read[1:-1, 1:-1].astype(int) - RGB[1:-1, 1:-1]).max() <= 1
    assert np.abs(read.astype(int) - RGB).max() <= 12
    wide = mosaic(RGB, pattern).astype(np.uint16) * 256
    np.testing.assert_array_equal(pixels(tmp_path, image(wide, f"bayer_{pattern}16")), read)
    native = pixels(tmp_path, image(wide, f"bayer_{pattern}16"), format="native")
    np.testing.assert_array_equal(native, wide)


@pytest.mark.parametrize(
    ("encoding", "format"),
    [("yuv422", "uyvy422"), ("uyvy", "uyvy422"), ("yuv422_yuy2", "yuyv422"), ("yuyv", "yuyv422")],
)
def test_yuv_422_is_what_ffmpeg_makes_of_it(tmp_path: Path, encoding: str, format: str) -> None:
    frame = av.VideoFrame.from_ndarray(RGB, format="rgb24").reformat(format=format)
    packed = np.frombuffer(bytes(frame.planes[0]), np.uint8).reshape(HEIGHT, -1)[:, : WIDTH * 2]
    read = pixels(tmp_path, image(packed.reshape(HEIGHT, WIDTH, 2), encoding))
    assert np.abs(read.astype(int) - RGB).max() <= 12


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_yuv_420_is_what_ffmpeg_makes_of_it(tmp_path: Path, encoding: str) -> None:
    frame = av.VideoFrame.from_ndarray(RGB, format="rgb24").reformat(format=encoding)
    planes = [np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)[:, :WIDTH] for plane in frame.planes]
    message = image(np.concatenate(planes), encoding)
    message.height = HEIGHT
    read = pixels(tmp_path, message)
    assert read.shape == RGB.shape and np.abs(read.astype(int) - RGB).max() <= 12


def file(pixels: Array, format: str) -> bytes:
    out = BytesIO()
    Image.fromarray(pixels).save(out, format)
    return out.getvalue()


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP"])
@pytest.mark.parametrize("stored", [RGB, GREY], ids=["rgb", "grey"])
def test_compressed_pictures_are_what_pillow_reads(tmp_path: Path, format: str, stored: Array) -> None:
    data = file(stored, format)
    expected = Image.open(BytesIO(data)).convert("RGB")
    message = compressed(data, f"bgr8; {format.lower()} compressed bgr8")
    read = pixels(tmp_path, message)
    # Decoders of JPEG round differently.
    assert np.abs(read.astype(int) - np.asarray(expected)).max() <= (4 if format == "JPEG" else 0)
    assert pixels(tmp_path, message, format="gray").shape == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(pixels(tmp_path, message, format="bgr"), read[:, :, ::-1])


def test_compressed_depth_is_depth(tmp_path: Path) -> None:
    header = struct.pack("<iff", 0, 10_000.0, -1.0)
    png = header + file(DEPTH, "PNG")
    np.testing.assert_array_equal(pixels(tmp_path, compressed(png, "16UC1; compressedDepth png")), DEPTH)
    metres = pixels(tmp_path, compressed(png, "32FC1; compressedDepth png"))
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(metres, np.where(DEPTH == 0, np.nan, 10_000 / (DEPTH + 1.0)), rtol=1e-6)
    assert pixels(tmp_path, compressed(file(DEPTH, "PNG"), "16UC1; png compressed ")).dtype == np.uint16


def test_a_frame_says_where_and_when(tmp_path: Path) -> None:
    (frame,) = frames(tmp_path, image(RGB, "rgb8", stamp_ns=5_000_000_007))
    assert (frame.topic, frame.log_time, frame.publish_time, frame.stamp) == ("/camera", 1000, 1000, 5_000_000_007)
    assert (frame.frame_id, frame.encoding) == ("camera", "rgb8")
    np.testing.assert_array_equal(np.asarray(frame), RGB)
    assert np.asarray(frame, dtype=float).dtype == float
    frame.pixels[0, 0] = 255  # one's own, to draw on
    assert repr(frame).startswith("<tapeloop.Frame /camera at 1970") and "24x32x3 from rgb8" in repr(frame)


def test_ros_1_and_foxglove_pictures_are_read(tmp_path: Path) -> None:
    from .sensors import ROS1

    stamp = ROS1.types["builtin_interfaces/msg/Time"](sec=3, nanosec=4)
    header = ROS1.types["std_msgs/msg/Header"](seq=1, stamp=stamp, frame_id="ros1")
    own = image(RGB, "rgb8")
    fields = {"height": own.height, "width": own.width, "encoding": "rgb8", "is_bigendian": 0, "step": own.step}
    message = ROS1.types["sensor_msgs/msg/Image"](header=header, **fields, data=own.data)
    png = file(RGB, "PNG")
    schema = {
        "type": "object",
        "properties": {
            "timestamp": {"type": "object", "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}}},
            "frame_id": {"type": "string"},
            "data": {"type": "string", "contentEncoding": "base64"},
            "format": {"type": "string"},
        },
    }
    value = {
        "timestamp": {"sec": 3, "nsec": 4},
        "frame_id": "fox",
        "data": base64.b64encode(png).decode(),
        "format": "png",
    }
    with File(tmp_path / "a.mcap") as out:
        out.ros1("/ros1", "sensor_msgs/msg/Image", message, 1)
        named = ("foxglove.CompressedImage", "jsonschema", json.dumps(schema).encode())
        out.raw("/fox", json.dumps(value).encode(), 2, encoding="json", schema=named)
        out.ros2("/text", text(1), 3)
    recording = tl.open(tmp_path / "a.mcap")
    one, other = recording.frames()
    assert (one.frame_id, one.stamp, other.frame_id, other.stamp) == ("ros1", 3_000_000_004, "fox", 3_000_000_004)
    np.testing.assert_array_equal(one.pixels, RGB)
    np.testing.assert_array_equal(other.pixels, RGB)
    assert [frame.topic for frame in recording["/fox"].frames()] == ["/fox"]
    with pytest.raises(tl.NotFoundError, match="no topic with pictures matches /text; /fox, /ros1 have"):
        recording["/text"].frames()
    with pytest.raises(tl.NotFoundError, match="no topic '/nosuch' here; there are /fox, /ros1, /text"):
        recording.frames("/nosuch")
    assert repr(recording["/fox"].frames()).endswith("a.mcap: /fox as rgb>")


def encoded(codec: str, count: int) -> tuple[list[bytes], list[Array]]:
    """Returns the packets of a video, each a picture, and the pictures as FFmpeg reads them."""
    context: Any = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = WIDTH * 4, HEIGHT * 4, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 30), 30
    context.options = {"preset": "ultrafast", "tune": "zerolatency"} if codec == "libx264" else {}
    packets: list[bytes] = []
    for index in range(count):
        pixels = np.full((HEIGHT * 4, WIDTH * 4, 3), index * 9, np.uint8)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts = index
        packets += [bytes(packet) for packet in context.encode(frame)]
    packets += [bytes(packet) for packet in context.encode(None)]
    decoder: Any = av.CodecContext.create("h264" if codec == "libx264" else "vp9", "r")
    pictures = [frame for packet in [*map(av.Packet, packets), None] for frame in decoder.decode(packet)]
    return packets, [picture.to_ndarray(format="rgb24") for picture in pictures]


VIDEO_SCHEMA = {
    "type": "object",
    "properties": {
        "frame_id": {"type": "string"},
        "data": {"type": "string", "contentEncoding": "base64"},
        "format": {"type": "string"},
    },
}


@pytest.mark.parametrize(("codec", "format"), [("libx264", "h264"), ("libvpx-vp9", "vp9")])
def test_video_is_unpacked_with_pyav(tmp_path: Path, codec: str, format: str) -> None:
    packets, expected = encoded(codec, 20)
    named = ("foxglove.CompressedVideo", "jsonschema", json.dumps(VIDEO_SCHEMA).encode())
    second = 1_000_000_000
    with File(tmp_path / "a.mcap") as out:
        for index, packet in enumerate(packets):
            value = {"frame_id": "cam", "data": base64.b64encode(packet).decode(), "format": format}
            out.raw("/video", json.dumps(value).encode(), 100 * second + index, encoding="json", schema=named)
    view = tl.open(tmp_path / "a.mcap")["/video"]
    read = list(view.frames())
    assert [frame.log_time - 100 * second for frame in read] == list(range(20))
    for frame, pixels in zip(read, expected, strict=True):
        np.testing.assert_array_equal(frame.pixels, pixels)
    late = list(view.frames(start=100 * second + 15))
    assert [frame.log_time - 100 * second for frame in late] == list(range(15, 20))
    np.testing.assert_array_equal(late[0].pixels, expected[15])


def test_a_damaged_picture_is_left_out_and_told(tmp_path: Path) -> None:
    whole, short = image(RGB, "rgb8"), image(RGB, "rgb8")
    short.data = short.data[:50]
    path = write(
        tmp_path / "a.mcap", [("/c", whole, 1), ("/c", short, 2), ("/c", compressed(b"\xff\xd8\xff", "jpeg"), 3)]
    )
    iterator = tl.open(path).frames("/c")
    assert [frame.log_time for frame in iterator] == [1]
    assert [(loss["topic"], loss["start_ns"]) for loss in iterator.losses] == [("/c", 2), ("/c", 3)]


def test_what_nothing_can_unpack_raises(tmp_path: Path) -> None:
    with pytest.raises(tl.InvalidError, match="pixels encoded as 'odd'"):
        frames(tmp_path, image(RGB, "odd"))
    with pytest.raises(tl.InvalidError, match="a picture of format 'odd'"):
        frames(tmp_path, compressed(b"nothing", "odd"))
    with pytest.raises(tl.InvalidError, match="format='rgb888'; one of"):
        frames(tmp_path, image(RGB, "rgb8"), format="rgb888")


def test_a_recording_without_cameras_has_no_pictures(tmp_path: Path) -> None:
    assert list(tl.open(write(tmp_path / "a.mcap", [("/text", text(1), 1)])).frames()) == []


def test_an_image_that_is_none_is_a_dict(tmp_path: Path) -> None:
    short, odd = image(RGB, "rgb8"), image(RGB, "odd")
    short.data = short.data[:50]
    path = write(tmp_path / "a.mcap", [("/c", short, 1), ("/c", odd, 2), ("/d", compressed(b"\xff\xd8", "jpeg"), 3)])
    one, other, file = tl.open(path)
    assert one.value["data"] == bytes(short.data) and one.value["encoding"] == "rgb8"
    assert other.value["header"]["frame_id"] == "camera"
    assert file.value["format"] == "jpeg" and file.value["data"] == b"\xff\xd8"


def test_an_image_has_fields_too(tmp_path: Path) -> None:
    (message,) = tl.open(write(tmp_path / "a.mcap", [("/c", image(RGB, "rgb8"), 1)]))
    assert message.fields["header"]["frame_id"] == "camera" and message.fields["data"] == RGB.tobytes()
    np.testing.assert_array_equal(message.value, RGB)


def test_images_as_values_are_arrays(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mcap", [("/c", image(RGB[:, :, ::-1], "bgr8"), 1), ("/d", image(DEPTH, "16UC1"), 2)])
    one, other = tl.open(path)
    np.testing.assert_array_equal(one.value, RGB[:, :, ::-1])
    np.testing.assert_array_equal(other.value, DEPTH)


@pytest.mark.parametrize("name", ["mcap/g1/g1_ros2_mcap.mcap", "mcap/custom-camera-model.mcap"])
def test_real_pictures_are_what_pillow_reads(name: str) -> None:
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    from mcap.reader import make_reader

    recording = tl.open(path)
    shown = 0
    with path.open("rb") as file:
        images = [
            (channel, message)
            for schema, channel, message in make_reader(file).iter_messages(log_time_order=False)
            if schema and schema.name.endswith("CompressedImage")
        ]
    for (channel, message), frame in zip(images[:20], recording.frames(sorted({images[0][0].topic})), strict=False):
        data = message.data
        if channel.message_encoding == "json":
            data = base64.b64decode(json.loads(data)["data"])
        start = max(data.find(b"\xff\xd8\xff"), data.find(b"\x89PNG"))
        expected = np.asarray(Image.open(BytesIO(data[start:])).convert("RGB"))
        assert frame.log_time == message.log_time
        assert frame.pixels.shape == expected.shape
        assert np.abs(frame.pixels.astype(int) - expected).mean() < 1
        shown += 1
    assert shown
