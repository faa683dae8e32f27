"""What `cat` prints of protobuf and JSON messages is what their own libraries read."""

from __future__ import annotations

import base64
import json
import math
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from mcap.reader import make_reader
from mcap.writer import Writer as McapWriter
from mcap_protobuf.writer import Writer as ProtobufWriter

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("TAPELOOP_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
TAPELOOP = Path(os.environ.get("TAPELOOP_BIN_DIR", TARGET / "debug")) / "tapeloop"

NUMBERS = [
    "double",
    "float",
    "int64",
    "uint64",
    "int32",
    "fixed64",
    "fixed32",
    "uint32",
    "sfixed32",
    "sfixed64",
    "sint32",
    "sint64",
]
SCALARS = [*NUMBERS, "bool", "string", "bytes"]


def cat(path: Path, topic: str) -> list[Any]:
    """Returns the messages of a topic as the program prints them."""
    command = [TAPELOOP, "cat", path, "--topic", topic, "--json"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [json.loads(line)["message"] for line in lines]


def message_class() -> type[Message]:
    """Returns a message class, made at run time, with every kind of field."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="rover.proto", package="rover", syntax="proto3")
    mode = file.enum_type.add(name="Mode")
    for number, name in enumerate(["IDLE", "DRIVING"]):
        mode.value.add(name=name, number=number)
    everything = file.message_type.add(name="Everything")
    inner = everything.nested_type.add(name="Inner")
    inner.field.add(name="x", number=1, type=kinds.TYPE_SINT32, label=kinds.LABEL_OPTIONAL)
    entry = everything.nested_type.add(name="TagsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    entry.field.add(
        name="value", number=2, type=kinds.TYPE_MESSAGE, type_name=".rover.Everything.Inner", label=kinds.LABEL_OPTIONAL
    )
    for number, name in enumerate(SCALARS, 1):
        kind = kinds.Type.Value(f"TYPE_{name.upper()}")
        everything.field.add(name=f"a_{name}", number=number, type=kind, label=kinds.LABEL_OPTIONAL)
        everything.field.add(name=f"many_{name}", number=100 + number, type=kind, label=kinds.LABEL_REPEATED)
        optional = everything.field.add(
            name=f"maybe_{name}", number=200 + number, type=kind, label=kinds.LABEL_OPTIONAL, proto3_optional=True
        )
        optional.oneof_index = len(everything.oneof_decl)
        everything.oneof_decl.add(name=f"_maybe_{name}")
    for name, number, type_name, label in [
        ("inner", 50, ".rover.Everything.Inner", kinds.LABEL_OPTIONAL),
        ("inners", 51, ".rover.Everything.Inner", kinds.LABEL_REPEATED),
        ("tags", 52, ".rover.Everything.TagsEntry", kinds.LABEL_REPEATED),
        ("again", 53, ".rover.Everything", kinds.LABEL_OPTIONAL),
    ]:
        everything.field.add(name=name, number=number, type=kinds.TYPE_MESSAGE, type_name=type_name, label=label)
    everything.field.add(
        name="mode", number=54, type=kinds.TYPE_ENUM, type_name=".rover.Mode", label=kinds.LABEL_OPTIONAL
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("rover.Everything"))


def some(kind: str, chance: random.Random) -> object:
    """Returns a value of a scalar kind."""
    if kind in ("double", "float"):
        value = chance.choice([0.5, -1e30, 1.0, math.inf])
        return value
    if kind == "bool":
        return chance.random() < 0.5
    if kind == "string":
        return chance.choice(["", 'ü\n"', "text"])
    if kind == "bytes":
        return chance.randbytes(chance.randrange(5))
    bits = 64 if kind.endswith("64") else 32
    value = chance.getrandbits(chance.randrange(bits + 1))
    return (
        value if "u" in kind or kind.startswith("f") else value - (1 << (bits - 1)) if value >> (bits - 1) else -value
    )


def fill(message: Any, chance: random.Random, depth: int = 0) -> None:
    """Sets some fields of a message."""
    for kind in SCALARS:
        if chance.random() < 0.5:
            setattr(message, f"a_{kind}", some(kind, chance))
        if chance.random() < 0.5:
            setattr(message, f"maybe_{kind}", some(kind, chance))
        getattr(message, f"many_{kind}").extend(some(kind, chance) for _ in range(chance.randrange(4)))
    message.mode = chance.randrange(4)
    for _ in range(chance.randrange(3)):
        message.inners.add(x=chance.randrange(-9, 9))
        message.tags[chance.choice("abc")].x = chance.randrange(-9, 9)
    if depth < 2 and chance.random() < 0.7:
        message.inner.x = 3
        fill(message.again, chance, depth + 1)


def expected(value: Any, field: Any = None) -> object:
    """Returns a value of the library as `cat` prints it."""
    if isinstance(value, Message):
        return dict(fields(value))
    if field is not None and field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return named.name if named else value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if field is not None and field.type == FieldDescriptor.TYPE_FLOAT:
        return pytest.approx(value, rel=1e-6)
    return value


def fields(message: Message) -> Iterator[tuple[str, object]]:
    """Yields what each field of a message should be."""
    for field in message.DESCRIPTOR.fields:
        value: Any = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            yield field.name, {key: expected(inner) for key, inner in value.items()}
        elif hasattr(value, "append"):
            yield field.name, [expected(one, field) for one in value]
        elif field.has_presence and not message.HasField(field.name):
            yield field.name, None
        else:
            yield field.name, expected(value, field)


def test_protobuf_messages_are_printed_as_their_library_reads_them(tmp_path: Path) -> None:
    """Absent fields without presence have their defaults, those with presence are null, enums are names."""
    chance = random.Random(7)
    everything = message_class()
    path, sent = tmp_path / "rover.mcap", []
    with path.open("wb") as file, ProtobufWriter(file) as writer:
        for time in range(50):
            message = everything()
            fill(message, chance)
            sent.append(message)
            writer.write_message("/rover", message, log_time=time, publish_time=time)
    printed = cat(path, "/rover")
    assert len(printed) == len(sent)
    for found, message in zip(printed, sent, strict=True):
        assert found == expected(message)
        assert list(found) == [field.name for field in sorted(message.DESCRIPTOR.fields, key=lambda field: field.index)]


def test_json_messages_with_a_schema_are_printed_as_json_reads_them() -> None:
    """The recording is of foxglove's types."""
    path = DATA / "mcap" / "custom-camera-model.mcap"
    if not path.exists():
        pytest.skip(f"there is no recording {path} (set TAPELOOP_TEST_DATA)")
    sent: dict[str, list[object]] = {}
    with path.open("rb") as file:
        for _, channel, message in make_reader(file).iter_messages():
            sent.setdefault(channel.topic, []).append(json.loads(message.data))
    for topic, messages in sent.items():
        assert cat(path, topic) == messages


def test_json_messages_without_a_schema_are_printed_on_one_line(tmp_path: Path) -> None:
    """White space goes, and the numbers that JSON does not have become texts."""
    path = tmp_path / "bare.mcap"
    messages = [{"a": [1, 2.5, None], "ü": {"b": "x\ny"}}, [1, 2], "text", {"nan": math.nan, "b": {"c": -math.inf}}]
    with path.open("wb") as file:
        writer = McapWriter(file)
        writer.start()
        channel = writer.register_channel(topic="/bare", message_encoding="json", schema_id=0)
        for time, message in enumerate(messages):
            writer.add_message(channel, time, json.dumps(message, indent=2).encode(), time)
        writer.finish()
    assert cat(path, "/bare") == [*messages[:3], {"nan": "NaN", "b": {"c": "-Infinity"}}]
