"""Definitions of every type that `rosbags` knows, read by `tapeloop schema`: fields, types and hashes are compared."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from mcap.writer import Writer
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PROGRAMS = Path(os.environ.get("TAPELOOP_BIN_DIR", TARGET / "debug"))
TIME_NAMES = {"builtin_interfaces/msg/Time": "time", "builtin_interfaces/msg/Duration": "duration"}
EMPTY = "structure_needs_at_least_one_member"


def shown(folder: Path, definitions: dict[str, str], encoding: str, message_encoding: str) -> dict[str, Any]:
    """Returns what the program says of each definition, by type."""
    path = folder / "all.mcap"
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        for name, text in definitions.items():
            schema = writer.register_schema(name, encoding, text.encode())
            writer.register_channel(f"/{name}", message_encoding, schema)
        writer.finish()
    environment = {**os.environ, "TAPELOOP_SCHEMAS": str(folder / "none")}
    command = [PROGRAMS / "tapeloop", "schema", path, "--json"]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return {one["topics"][0][1:]: one for one in json.loads(done.stdout)}


def kind(desc: Any, ros: int) -> str:
    """Returns a field's type as the program writes it."""
    match desc[0]:
        case Nodetype.BASE:
            name = desc[1][0]
            return str({"byte": "uint8", "char": "uint8"}.get(name, name))
        case Nodetype.NAME:
            return str(desc[1]) if ros == 2 else TIME_NAMES.get(desc[1], str(desc[1]).replace("/msg/", "/"))
        case Nodetype.ARRAY:
            return f"{kind(desc[1][0], ros)}[{desc[1][1]}]"
        case _:
            bound = f"<={desc[1][1]}" if desc[1][1] else ""
            return f"{kind(desc[1][0], ros)}[{bound}]"


def fields(store: Typestore, name: str, ros: int) -> list[tuple[str, str]]:
    return [(field, kind(desc, ros)) for field, desc in store.fielddefs[name][1] if field != EMPTY]


def has_char(store: Typestore, name: str) -> bool:
    return any("'char'" in str(store.fielddefs[one][1]) for one in (name, *nested(store, name)))


def nested(store: Typestore, name: str) -> list[str]:
    return [one for one in store.fielddefs if f"'{one}'" in str(store.fielddefs[name][1])]


@pytest.mark.parametrize("distribution", ["ROS2_FOXY", "ROS2_HUMBLE", "ROS2_JAZZY", "ROS2_LYRICAL"])
def test_every_ros2_type_has_the_fields_and_the_hash_that_rosbags_finds(tmp_path: Path, distribution: str) -> None:
    store = get_typestore(Stores[distribution])
    definitions = {name: store.generate_msgdef(name, 2)[0] for name in store.fielddefs}
    found = shown(tmp_path, definitions, "ros2msg", "cdr")
    assert found.keys() == definitions.keys()
    for name, one in found.items():
        message = one["types"][one["root"]]
        assert [(field["name"], field["type"]) for field in message["fields"]] == fields(store, name, 2), name
        # ROS 2 takes a `char` of a .msg file for a uint8; rosbags 0.11.9 hashes it as a char.
        if not has_char(store, name):
            assert one["hash"] == store.hash_rihs01(name), name


def test_every_ros1_type_has_the_fields_and_the_md5_that_rosbags_finds(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    names = [name for name in store.fielddefs if not name.startswith("builtin_interfaces/")]
    texts = {name.replace("/msg/", "/"): store.generate_msgdef(name) for name in names}
    found = shown(tmp_path, {name: text for name, (text, _) in texts.items()}, "ros1msg", "ros1")
    assert found.keys() == texts.keys()
    for name, one in found.items():
        message = one["types"][one["root"]]
        expected = fields(store, name.replace("/", "/msg/"), 1)
        assert [(field["name"], field["type"]) for field in message["fields"]] == expected, name
        assert one["hash"] == texts[name][1], name
