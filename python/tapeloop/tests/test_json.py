"""Dicts and their like: what JSON they become, and which schema."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import types
import typing
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapeloop as tl

Recorded = Callable[..., list[Any]]


class Mode(enum.Enum):
    DRIVE = "drive"


class Level(enum.IntEnum):
    HIGH = 3


class Gear(typing.NamedTuple):
    number: int
    ratio: float


@dataclasses.dataclass
class Wheel:
    speed: float
    slip: float | None = None


@dataclasses.dataclass(slots=True)
class Rover:
    kind: typing.ClassVar[str] = "rover"
    name: str
    wheels: list[Wheel]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"ax": 0.1, "seq": 3, "ok": True, "frame": "base", "gone": None}, None),
        ({}, None),
        ({"a": {"b": [{"x": 1}, {"x": 2}]}, "empty": []}, None),
        (5, {"value": 5}),
        (0.5, {"value": 0.5}),
        (True, {"value": True}),
        ("text", {"value": "text"}),
        (None, {"value": None}),
        ([1, 2.5], {"values": [1, 2.5]}),
        ((1, "a"), {"values": [1, "a"]}),
        ({"s": {7}, "d": collections.deque([1]), "r": range(2)}, {"s": [7], "d": [1], "r": [0, 1]}),
        (Gear(1, 3.5), {"number": 1, "ratio": 3.5}),
        (Rover("r", [Wheel(1.0)]), {"name": "r", "wheels": [{"speed": 1.0, "slip": None}]}),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        ({Mode.DRIVE: Mode.DRIVE, 3: Level.HIGH}, {"drive": "drive", "3": 3}),
        ({"raw": b"\x00\x01\xff", "view": memoryview(b"ab")}, {"raw": "AAH/", "view": "YWI="}),
        ({"big": 2**64 - 1, "small": -(2**63)}, None),
        ({"d": decimal.Decimal("1.5"), "td": datetime.timedelta(milliseconds=1500)}, {"d": 1.5, "td": 1.5}),
        ({"id": uuid.UUID(int=5), "p": pathlib.Path("/x")}, {"id": str(uuid.UUID(int=5)), "p": "/x"}),
        ({"f": np.float32(0.5), "i": np.int16(-5), "b": np.bool_(True), "d": np.float64(1.5), "u": np.uint64(2**63)},
         {"f": 0.5, "i": -5, "b": True, "d": 1.5, "u": 2**63}),
        ({"m": np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::-1]}, {"m": [[2.0, 1.0, 0.0], [5.0, 4.0, 3.0]]}),
        ({"i": np.array([[1], [2]], np.int8), "z": np.zeros(0), "s": np.array(2.5), "b": np.array([True, False])},
         {"i": [[1], [2]], "z": [], "s": 2.5, "b": [True, False]}),
        ({"nan": math.nan, "inf": -math.inf, "a": np.array([np.nan, 1])}, {"nan": None, "inf": None, "a": [None, 1]}),
        ({'quote"d': 'a"\\\n\t\r\x01é😀'}, None),
    ],
    ids=repr,
)  # fmt: skip
def test_a_value_becomes_this_json(rec: tl.Recorder, recorded: Recorded, value: Any, expected: Any) -> None:
    rec.log("/t", value)
    (message,) = recorded(rec, "/t")
    assert message.value == (value if expected is None else expected)
    assert message.encoding == "json"
    assert message.schema_encoding == "jsonschema"


def test_floats_keep_every_bit(rec: tl.Recorder, recorded: Recorded) -> None:
    numbers = [0.1, 1e308, 5e-324, -0.0, 1 / 3, 123456789.123456789, 1e21, 1e-7]
    rec.log("/t", {"n": numbers})
    (message,) = recorded(rec, "/t")
    assert message.value["n"] == numbers
    assert math.copysign(1, message.value["n"][3]) == -1


def test_half_of_a_surrogate_pair_does_not_lose_the_line(rec: tl.Recorder, recorded: Recorded) -> None:
    rec.log("/t", {"text": "a\ud800b"})
    (message,) = recorded(rec, "/t")
    assert message.value["text"].startswith("a") and message.value["text"].endswith("b")


def test_datetimes_are_rfc_3339_with_a_zone(rec: tl.Recorder, recorded: Recorded) -> None:
    aware = datetime.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=datetime.timezone.utc)
    rec.log("/t", {"aware": aware, "local": aware.astimezone().replace(tzinfo=None), "day": aware.date()})
    (message,) = recorded(rec, "/t")
    assert datetime.datetime.fromisoformat(message.value["aware"]) == aware
    assert datetime.datetime.fromisoformat(message.value["local"]) == aware
    assert message.value["day"] == "2026-01-02"
    assert message.schema["properties"]["aware"] == {"type": "string", "format": "date-time"}


def test_the_schema_says_the_kinds(rec: tl.Recorder, recorded: Recorded) -> None:
    rec.log(
        "/imu", {"n": 1, "f": 0.5, "b": True, "t": "x", "raw": b"x", "l": [1], "o": {"x": [{"y": 1}]}, "gone": None}
    )
    (message,) = recorded(rec, "/imu")
    number = {"type": "number"}
    inner = {"type": "array", "items": {"type": "object", "properties": {"y": number}}}
    assert message.schema_name == "imu"
    assert message.schema == {
        "type": "object",
        "properties": {
            "n": number,
            "f": number,
            "b": {"type": "boolean"},
            "t": {"type": "string"},
            "raw": {"type": "string", "contentEncoding": "base64"},
            "l": {"type": "array", "items": number},
            "o": {"type": "object", "properties": {"x": inner}},
        },
    }


def test_a_dataclass_names_its_schema(rec: tl.Recorder, recorded: Recorded) -> None:
    rec.log("/a", Wheel(1.0, 2.0))
    rec.log("/b", Gear(1, 2.0))
    assert [message.schema_name for message in recorded(rec)] == ["Wheel", "Gear"]


@pytest.mark.parametrize(
    "same",
    [
        {"x": 1.5, "y": [1, 2, 3], "t": "other"},
        {"y": [1.0], "t": "", "x": 2},
        {"x": math.nan, "y": [], "t": None},
        {"x": None, "y": [None], "t": "x"},
    ],
)
def test_one_shape_has_one_schema(rec: tl.Recorder, recorded: Recorded, same: Any) -> None:
    rec.log("/t", {"x": 1, "y": [1, 2], "t": "x"})
    rec.log("/t", same)
    first, second = recorded(rec, "/t")
    assert first.schema_data == second.schema_data


@pytest.mark.parametrize(
    "other",
    [
        {"x": "text", "y": [1]},
        {"x": 1},
        {"x": 1, "y": [1], "z": 1},
        {"x": 1, "y": ["a"]},
        {"x": 1, "y": [1, "a"]},
        {"x": 1, "y": {"a": 1}},
        {"x": True, "y": [1]},
        {"x": 1, "Y": [1]},
    ],
    ids=repr,
)
def test_another_shape_is_another_schema_on_the_same_topic(rec: tl.Recorder, recorded: Recorded, other: Any) -> None:
    first = {"x": 1, "y": [1, 2]}
    for value in (first, other, first, other):
        rec.log("/t", value)
    messages = recorded(rec, "/t")
    assert [message.value for message in messages] == [first, other, first, other]
    schemas = [message.schema_data for message in messages]
    assert schemas[0] == schemas[2] != schemas[1] == schemas[3]
    assert {message.schema_name for message in messages} == {"t"}


def test_after_64_shapes_one_schema_permits_everything(rec: tl.Recorder, recorded: Recorded) -> None:
    for index in range(100):
        rec.log("/t", {f"key{index}": index})
    rec.log("/t", {"key0": 1})
    messages = recorded(rec, "/t")
    assert len({message.schema_data for message in messages}) == 65
    assert {message.schema_data for message in messages[64:100]} == {b'{"type":"object"}'}
    assert messages[100].schema_data == messages[0].schema_data
    assert len(rec.save(before="1 h")["/t"]) == 101


def test_a_given_schema_is_kept(rec: tl.Recorder, recorded: Recorded) -> None:
    schema = tl.Schema("my.Type", "jsonschema", '{"type": "object"}')
    rec.log("/t", {"x": 1}, schema=schema)
    rec.log("/t", {"y": "z"}, schema=schema)
    messages = recorded(rec, "/t")
    assert {(message.schema_name, message.schema_data) for message in messages} == {("my.Type", b'{"type": "object"}')}


def cycle() -> Any:
    inner: dict[str, Any] = {}
    inner["again"] = [inner]
    return inner


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"imu": {"ax": [1, 2**64]}}, r"at 'imu\.ax\[1\]': an int that does not fit into 64 bits"),
        ({"x": -(2**63) - 1}, "at 'x': an int"),
        (cycle(), "nested deeper than 64 levels"),
        ({"x": {"y": object()}}, r"at 'x\.y': a value of type 'object' cannot be logged"),
        ({(1, 2): 3}, r"a key of type tuple"),
        ({None: 3}, "a key of type NoneType"),
        ({"c": 1j}, "at 'c': a value of type 'complex'"),
        ({"a": np.zeros(3, dtype=complex)}, "at 'a': an array of complex128"),
        ({"a": np.array(["x", None])}, "at 'a': an array of object"),
        (object(), "a value of type 'object'"),
        (print, "cannot be logged"),
    ],
    ids=repr,
)
def test_what_cannot_be_logged_is_refused_with_its_place(rec: tl.Recorder, value: Any, message: str) -> None:
    with pytest.raises(tl.InvalidError, match=message):
        rec.log("/t", value)
    rec.log("/t", {"still": "works"})


def test_an_exception_of_a_property_comes_through(rec: tl.Recorder) -> None:
    class Broken(collections.UserDict[str, int]):
        def __getitem__(self, key: str) -> int:
            raise LookupError("broken")

    with pytest.raises(LookupError, match="broken"):
        rec.log("/t", {"x": Broken(a=1)})


def test_a_value_that_logs_while_it_is_logged_is_fine(rec: tl.Recorder, recorded: Recorded) -> None:
    class Chatty(collections.UserDict[str, int]):
        def __getitem__(self, key: str) -> int:
            rec.log("/inner", {"key": key})
            return 1

    rec.log("/outer", {"before": 1, "chatty": Chatty(a=1), "after": 2})
    messages = {message.topic: message.value for message in recorded(rec)}
    assert messages == {"/outer": {"before": 1, "chatty": {"a": 1}, "after": 2}, "/inner": {"key": "a"}}


def test_a_dict_that_changes_while_it_is_logged_does_not_crash(rec: tl.Recorder) -> None:
    growing: dict[str, Any] = {}

    class Grower:
        def __index__(self) -> int:
            for index in range(100):
                growing[f"k{index}"] = 1
            return 1

    growing["first"] = Grower()
    rec.log("/t", growing)
    shrinking: list[Any] = []

    class Shrinker:
        def __index__(self) -> int:
            shrinking.clear()
            return 1

    shrinking.extend([Shrinker(), 2, 3])
    rec.log("/t", shrinking)


def test_a_large_dict_is_one_message(rec: tl.Recorder, recorded: Recorded) -> None:
    value = {f"key-{index}": [index, float(index), str(index)] for index in range(20_000)}
    rec.log("/t", value)
    (message,) = recorded(rec, "/t")
    assert message.value == value
    assert json.loads(message.schema_data)["type"] == "object"


@pytest.mark.parametrize("keyword", [{"stamp": 5}, {"frame_id": "base"}])
def test_a_message_without_a_header_takes_no_stamp(rec: tl.Recorder, keyword: Any) -> None:
    with pytest.raises(tl.InvalidError, match="image's header"):
        rec.log("/t", {"x": 1}, **keyword)


def test_a_dict_in_another_encoding_is_refused(rec: tl.Recorder) -> None:
    with pytest.raises(tl.InvalidError, match="encoding 'cdr' of a value that is not bytes"):
        rec.log("/t", {"x": 1}, encoding="cdr")
