"""Payloads as Python values: what this package writes, it decodes.

JSON needs nothing; images and arrays need numpy, and compressed images Pillow. Other encodings stay bytes: a message's
``data`` and ``schema`` are what their own libraries take.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

from .errors import CorruptError, InvalidError

if TYPE_CHECKING:
    import numpy as np

    _Array = np.ndarray[Any, Any]

_ARRAYS = {
    "std_msgs/msg/Int8MultiArray": "i1",
    "std_msgs/msg/Int16MultiArray": "i2",
    "std_msgs/msg/Int32MultiArray": "i4",
    "std_msgs/msg/Int64MultiArray": "i8",
    "std_msgs/msg/UInt8MultiArray": "u1",
    "std_msgs/msg/UInt16MultiArray": "u2",
    "std_msgs/msg/UInt32MultiArray": "u4",
    "std_msgs/msg/UInt64MultiArray": "u8",
    "std_msgs/msg/Float32MultiArray": "f4",
    "std_msgs/msg/Float64MultiArray": "f8",
}

# encoding: (type of an element, channels)
_PIXELS = {
    "mono8": ("u1", 1),
    "mono16": ("u2", 1),
    "rgb8": ("u1", 3),
    "rgba8": ("u1", 4),
    "bgr8": ("u1", 3),
    "bgra8": ("u1", 4),
}


def decode(topic: str, encoding: str, type_name: str, data: bytes) -> Any:
    """Returns the value of a payload.

    Args:
        topic: The topic's name, for errors.
        encoding: How MCAP calls the payload's encoding.
        type_name: The name of the payload's type.
        data: The payload.

    Raises:
        InvalidError: Nothing here decodes such a payload.
        CorruptError: The payload is not what its encoding says.
    """
    try:
        if encoding == "json":
            return json.loads(data)
        if encoding == "x-bytes":
            return data
        if encoding == "cdr" and type_name == "sensor_msgs/msg/Image":
            return _image(_Cdr(data))
        if encoding == "cdr" and type_name == "sensor_msgs/msg/CompressedImage":
            return _compressed_image(_Cdr(data))
        if encoding == "cdr" and type_name in _ARRAYS:
            return _array(_Cdr(data), _ARRAYS[type_name])
    except (ValueError, struct.error, OSError) as error:
        if isinstance(error, InvalidError):
            raise
        raise CorruptError(f"message on '{topic}' is not {type_name or 'valid'} in {encoding}: {error}") from error
    what = f"{type_name} in {encoding}" if type_name else encoding or "an unnamed encoding"
    raise InvalidError(f"message on '{topic}': {what} is not decoded here; decode its data with its own library")


class _Cdr:
    """Reads CDR from behind its 4-byte header."""

    def __init__(self, data: bytes) -> None:
        if len(data) < 4 or data[0] != 0 or data[1] > 1:
            raise ValueError("no CDR header")
        self.order = "<" if data[1] == 1 else ">"
        self.data = data
        self.at = 4

    def number(self, kind: str) -> int:
        """Returns a number of a `struct` format, aligned to its size."""
        size = struct.calcsize("=" + kind)
        self.align(size)
        (value,) = struct.unpack_from(self.order + kind, self.data, self.at)
        self.at += size
        return int(value)

    def align(self, size: int) -> None:
        self.at += -(self.at - 4) % size

    def text(self) -> str:
        size = self.number("I")
        raw = self.raw(size)
        return raw[:-1].decode(errors="replace")

    def raw(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise ValueError(f"it ends {self.at + size - len(self.data)} bytes too early")
        raw = self.data[self.at : self.at + size]
        self.at += size
        return raw

    def header(self) -> None:
        """Skips `std_msgs/Header`."""
        self.number("i")
        self.number("I")
        self.text()


def _image(cdr: _Cdr) -> _Array:
    numpy = _numpy()
    cdr.header()
    height, width = cdr.number("I"), cdr.number("I")
    encoding = cdr.text()
    big_endian = cdr.number("B")
    step, size = cdr.number("I"), cdr.number("I")
    if encoding not in _PIXELS:
        raise InvalidError(f"image encoding '{encoding}' is not decoded here; one of {', '.join(_PIXELS)} is")
    kind, channels = _PIXELS[encoding]
    element = numpy.dtype((">" if big_endian else "<") + kind)
    if step < width * channels * element.itemsize or size < step * height:
        raise ValueError(f"{size} bytes are no image of {width}x{height} {encoding}")
    shape = (height, width) if channels == 1 else (height, width, channels)
    strides = (step, channels * element.itemsize, element.itemsize)[: len(shape)]
    if cdr.at + step * height > len(cdr.data):
        raise ValueError("its pixels end too early")
    pixels: _Array = numpy.ndarray(shape, element, cdr.data, cdr.at, strides)
    return pixels


def _compressed_image(cdr: _Cdr) -> _Array:
    numpy = _numpy()
    try:
        from PIL import Image
    except ImportError as error:
        raise InvalidError("compressed images need Pillow to be decoded: pip install pillow") from error
    from io import BytesIO

    cdr.header()
    cdr.text()
    image = Image.open(BytesIO(cdr.raw(cdr.number("I"))))
    pixels: _Array = numpy.asarray(image)
    return pixels


def _array(cdr: _Cdr, kind: str) -> _Array:
    numpy = _numpy()
    shape: list[int] = []
    for _ in range(cdr.number("I")):
        cdr.text()
        shape.append(cdr.number("I"))
        cdr.number("I")
    cdr.number("I")
    count = cdr.number("I")
    element = numpy.dtype(cdr.order + kind)
    if count:
        cdr.align(element.itemsize)
    flat: _Array = numpy.frombuffer(cdr.raw(count * element.itemsize), element)
    # Messages of other programs often have no dimensions: then it is a plain list.
    return flat.reshape(shape) if shape or count == 1 else flat


def _numpy() -> Any:
    try:
        import numpy
    except ImportError as error:
        raise InvalidError("images and arrays need numpy to be decoded: pip install numpy") from error
    return numpy
