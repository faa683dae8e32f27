"""Payloads as Python values, where Python's own library or numpy decodes them: JSON, and arrays."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

from .errors import CorruptError, InvalidError

if TYPE_CHECKING:
    import numpy as np

    _Array = np.ndarray[Any, Any]


def json_value(topic: str, type_name: str, data: bytes) -> Any:
    """Returns what JSON says.

    Args:
        topic: The topic's name, for errors.
        type_name: The name of the payload's type, for errors.
        data: The payload.

    Raises:
        CorruptError: The payload is no JSON.
    """
    try:
        return json.loads(data)
    except ValueError as error:
        raise CorruptError(f"message on '{topic}' is not {type_name or 'valid'} in json: {error}") from error


def array_value(topic: str, type_name: str, kind: str, data: bytes) -> _Array:
    """Returns the array of a `std_msgs/msg/<T>MultiArray` in CDR.

    Args:
        topic: The topic's name, for errors.
        type_name: The name of the payload's type, for errors.
        kind: What numpy calls its elements, without the byte order.
        data: The payload.

    Raises:
        InvalidError: numpy is not installed.
        CorruptError: The payload is no such array.
    """
    try:
        import numpy
    except ImportError as error:
        raise InvalidError("arrays need numpy to be decoded: pip install numpy") from error
    try:
        cdr = _Cdr(data)
        shape: list[int] = []
        for _ in range(cdr.number()):
            cdr.text()
            shape.append(cdr.number())
            cdr.number()
        cdr.number()
        count = cdr.number()
        element = numpy.dtype(cdr.order + kind)
        if count:
            cdr.align(element.itemsize)
        flat: _Array = numpy.frombuffer(cdr.raw(count * element.itemsize), element)
        # Messages of other programs often have no dimensions: then it is a plain list.
        return flat.reshape(shape) if shape or count == 1 else flat
    except (ValueError, struct.error) as error:
        raise CorruptError(f"message on '{topic}' is not {type_name} in cdr: {error}") from error


class _Cdr:
    """Reads CDR from behind its 4-byte header."""

    def __init__(self, data: bytes) -> None:
        if len(data) < 4 or data[0] != 0 or data[1] > 1:
            raise ValueError("no CDR header")
        self.order = "<" if data[1] == 1 else ">"
        self.data = data
        self.at = 4

    def number(self) -> int:
        """Returns a `uint32`."""
        self.align(4)
        (value,) = struct.unpack_from(self.order + "I", self.data, self.at)
        self.at += 4
        return int(value)

    def align(self, size: int) -> None:
        self.at += -(self.at - 4) % size

    def text(self) -> None:
        """Skips text."""
        self.raw(self.number())

    def raw(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise ValueError(f"it ends {self.at + size - len(self.data)} bytes too early")
        raw = self.data[self.at : self.at + size]
        self.at += size
        return raw
