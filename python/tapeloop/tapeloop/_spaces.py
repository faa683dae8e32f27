"""What environments exchange, as messages: plans of observations, actions, rewards and discounts.

A plan is plain JSON, so that a recording can carry it. It says, leaf by leaf, how a value becomes a message, and how it
becomes the same value again: small arrays are JSON, large ones and pictures are messages on topics of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ._native import CompressedImage
from .errors import CorruptError, InvalidError

if TYPE_CHECKING:
    import numpy as np

    _Array = np.ndarray[Any, Any]

Plan: TypeAlias = dict[str, Any]

# A picture has at least as many rows and columns; what is smaller is a table of numbers.
PICTURE_SIDE = 16
# An array of more elements is a message of its own.
INLINE_ELEMENTS = 256
# How deep dicts and tuples may lie in each other.
DEPTH_LIMIT = 32
_JPEG_QUALITY = 90
_NUMBERS = {"b": "boolean", "i": "integer", "u": "integer", "f": "number"}
_NONFINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Leaf(NamedTuple):
    """A part of a value that is a message of its own."""

    topic: str
    value: Any
    is_picture: bool


def of_space(space: Any, topic: str, images: str) -> Plan:
    """Returns the plan of a gymnasium space; `topic` is where its values are logged."""
    from gymnasium import spaces

    def plan(space: Any, place: list[str]) -> Plan:
        _check_depth(place, topic)
        if isinstance(space, spaces.Discrete):
            return {"kind": "scalar", "dtype": str(space.dtype)}
        if isinstance(space, (spaces.Box, spaces.MultiDiscrete, spaces.MultiBinary)):
            return _array(space.dtype, space.shape, topic, place, images)
        if isinstance(space, spaces.Text):
            return {"kind": "text"}
        if isinstance(space, spaces.Dict):
            return {"kind": "dict", "items": {str(key): plan(of, [*place, str(key)]) for key, of in space.items()}}
        if isinstance(space, spaces.Tuple):
            return {"kind": "tuple", "items": [plan(of, [*place, str(index)]) for index, of in enumerate(space)]}
        raise InvalidError(
            f"a space of {type(space).__name__} on '{topic}' cannot be recorded; Box, Discrete, MultiDiscrete, "
            "MultiBinary, Text, Dict and Tuple can"
        )

    return _without_collisions(plan(space, []), topic)


def of_spec(spec: Any, topic: str, images: str) -> Plan:
    """Returns the plan of a dm_env spec, or of dicts, lists and tuples of them."""
    from dm_env import specs  # type: ignore[import-untyped]

    def plan(spec: Any, place: list[str]) -> Plan:
        _check_depth(place, topic)
        if spec is None:
            return {"kind": "none"}
        if isinstance(spec, specs.Array):
            if spec.dtype.kind in "OUS":
                return {"kind": "text", "shape": list(spec.shape)}
            return _array(spec.dtype, spec.shape, topic, place, images)
        if isinstance(spec, Mapping):
            return {"kind": "dict", "items": {str(key): plan(of, [*place, str(key)]) for key, of in spec.items()}}
        if isinstance(spec, (list, tuple)):
            kind = "list" if isinstance(spec, list) else "tuple"
            return {"kind": kind, "items": [plan(of, [*place, str(index)]) for index, of in enumerate(spec)]}
        raise InvalidError(
            f"a spec of {type(spec).__name__} on '{topic}' cannot be recorded; arrays, and dicts and lists of them can"
        )

    return _without_collisions(plan(spec, []), topic)


def numbers(shape: tuple[int, ...]) -> Plan:
    """Returns the plan of a float, or of an array of them within the message."""
    kind = {"kind": "array", "shape": list(shape)} if shape else {"kind": "scalar"}
    return {**kind, "dtype": "float64"}


def schema(plan: Plan) -> dict[str, Any] | None:
    """Returns the JSON schema of what a plan leaves in the message itself; ``None`` where that is nothing."""
    kind = plan["kind"]
    if kind == "scalar":
        return {"type": _json_type(plan["dtype"])}
    if kind == "text":
        return _nested({"type": "string"}, plan.get("shape", []))
    if kind == "array":
        return _nested({"type": _json_type(plan["dtype"])}, plan["shape"])
    if kind in ("dict", "tuple", "list"):
        items = plan["items"].items() if kind == "dict" else ((str(i), item) for i, item in enumerate(plan["items"]))
        parts = {name: schema(item) for name, item in items}
        return {"type": "object", "properties": {name: part for name, part in parts.items() if part is not None}}
    return None


def pack(plan: Plan, value: Any) -> tuple[Any, dict[str, str], list[Leaf]]:
    """Returns a value as JSON, which of its numbers JSON does not have, and what of it are messages of their own.

    Raises:
        InvalidError: It is not what its space says.
    """
    nonfinite: dict[str, str] = {}
    leaves: list[Leaf] = []
    return _pack(plan, value, "", nonfinite, leaves), nonfinite, leaves


def unpack(plan: Plan, json: Any, nonfinite: Mapping[str, str], leaves: Mapping[str, Any]) -> Any:
    """Returns the value that was packed.

    Raises:
        CorruptError: A part of it is not there.
    """
    return _unpack(plan, json, "", nonfinite, leaves)


def leaf_topics(plan: Plan) -> list[str]:
    """Returns the topics of those parts of a value that are messages of their own."""
    if "items" in plan:
        items = plan["items"].values() if plan["kind"] == "dict" else plan["items"]
        return [topic for item in items for topic in leaf_topics(item)]
    return [plan["topic"]] if "topic" in plan else []


def _array(dtype: Any, shape: Any, topic: str, place: list[str], images: str) -> Plan:
    import numpy

    dtype, shape = numpy.dtype(dtype), [int(side) for side in shape]
    if dtype.kind not in _NUMBERS:
        raise InvalidError(f"an array of {dtype} on '{topic}' cannot be recorded; bool, integers and floats can")
    plan = {"kind": "array", "dtype": str(dtype), "shape": shape}
    if _is_picture(dtype, shape):
        return {**plan, "kind": "image", "format": images, "topic": "/".join([topic, *(place or ["image"])])}
    if math.prod(shape) > INLINE_ELEMENTS:
        return {**plan, "kind": "tensor", "topic": "/".join([topic, *(place or ["array"])])}
    return plan


def _is_picture(dtype: Any, shape: list[int]) -> bool:
    is_flat = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))
    return bool(dtype == "uint8" and is_flat and min(shape[:2]) >= PICTURE_SIDE)


def _without_collisions(plan: Plan, topic: str) -> Plan:
    topics = leaf_topics(plan)
    if len(set(topics)) != len(topics):
        raise InvalidError(f"two parts of '{topic}' have the same name: a key has a '/' in it")
    return plan


def _check_depth(place: list[str], topic: str) -> None:
    if len(place) > DEPTH_LIMIT:
        raise InvalidError(f"'{topic}' has parts within parts, more than {DEPTH_LIMIT} deep")


def _json_type(dtype: str) -> str:
    import numpy

    return _NUMBERS[numpy.dtype(dtype).kind]


def _nested(item: dict[str, Any], shape: list[int]) -> dict[str, Any]:
    for _ in shape:
        item = {"type": "array", "items": item}
    return item


def _pack(plan: Plan, value: Any, at: str, nonfinite: dict[str, str], leaves: list[Leaf]) -> Any:
    kind = plan["kind"]
    try:
        if kind == "dict":
            items = plan["items"].items()
            return {name: _pack(item, value[name], f"{at}/{name}", nonfinite, leaves) for name, item in items}
        if kind in ("tuple", "list"):
            if len(value) != len(plan["items"]):
                raise ValueError(f"{len(value)} parts, not {len(plan['items'])}")
            parts = enumerate(zip(plan["items"], value, strict=True))
            return {str(i): _pack(item, part, f"{at}/{i}", nonfinite, leaves) for i, (item, part) in parts}
        if kind == "none":
            return None
        if kind == "text":
            return _texts(plan, value)
        return _pack_numbers(plan, value, at, nonfinite, leaves)
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise InvalidError(f"a value that is not what its space says, at '{at or '/'}': {error}") from error


def _texts(plan: Plan, value: Any) -> Any:
    import numpy

    if "shape" not in plan:
        return str(value)
    return numpy.asarray(value, dtype=object).reshape(plan["shape"]).astype(str).tolist()


def _pack_numbers(plan: Plan, value: Any, at: str, nonfinite: dict[str, str], leaves: list[Leaf]) -> Any:
    import numpy

    array = numpy.asarray(value)
    shape = plan.get("shape", [])
    if list(array.shape) != shape:
        raise ValueError(f"an array of shape {list(array.shape)}, not {shape}")
    array = _cast(array, plan["dtype"])
    if plan["kind"] == "image":
        leaves.append(Leaf(plan["topic"], _picture(array, plan["format"]), True))
        return None
    if plan["kind"] == "tensor":
        # ROS has no array of half floats, and every one of them is a float too. Without dimensions none is a picture.
        wide = array.astype("float32") if array.dtype == "float16" else array
        leaves.append(Leaf(plan["topic"], numpy.ascontiguousarray(wide).reshape(-1), False))
        return None
    if array.dtype.kind == "f" and not numpy.isfinite(array).all():
        flat = array.reshape(-1).tolist()
        for index, number in enumerate(flat):
            if not math.isfinite(number):
                nonfinite[f"{at}#{index}"] = _name(number)
                flat[index] = None
        array = numpy.array(flat, dtype=object).reshape(shape)
    return array.tolist()


def _cast(array: _Array, dtype: str) -> _Array:
    """Returns an array of a type. Floats may be rounded to shorter ones; nothing else may change."""
    import numpy

    with numpy.errstate(all="ignore"):
        cast = array.astype(dtype, copy=False)
    if cast.dtype == array.dtype:
        return cast
    if cast.dtype.kind == array.dtype.kind == "f":
        changed = numpy.isfinite(array) & ~numpy.isfinite(cast)
    else:
        # NaN, which is no number, differs from itself.
        changed = (cast != array) & ((cast == cast) | (array == array))
    if numpy.any(changed):
        raise ValueError(f"{array[changed].flat[0]} as {dtype} is {cast[changed].flat[0]}")
    return cast


def _name(number: float) -> str:
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _picture(array: _Array, format: str) -> Any:
    # JPEG has no place for a fourth channel.
    if format == "raw":
        return array
    from PIL import Image

    with_alpha = array.ndim == 3 and array.shape[2] == 4
    name = "png" if with_alpha else format
    flat = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    data = BytesIO()
    Image.fromarray(flat).save(data, format=name, **({"quality": _JPEG_QUALITY} if name == "jpeg" else {}))
    return CompressedImage(data.getvalue(), format=name)


def _unpack(plan: Plan, json: Any, at: str, nonfinite: Mapping[str, str], leaves: Mapping[str, Any]) -> Any:
    kind = plan["kind"]
    try:
        if kind == "dict":
            items = plan["items"].items()
            return {name: _unpack(item, json[name], f"{at}/{name}", nonfinite, leaves) for name, item in items}
        if kind in ("tuple", "list"):
            parts = [
                _unpack(item, json[str(i)], f"{at}/{i}", nonfinite, leaves) for i, item in enumerate(plan["items"])
            ]
            return parts if kind == "list" else tuple(parts)
        if kind == "none":
            return None
        if kind in ("image", "tensor"):
            return _unpack_leaf(plan, leaves)
        return _unpack_numbers(plan, json, at, nonfinite)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptError(f"a value that is not what its plan says, at '{at or '/'}': {error}") from error


def _unpack_leaf(plan: Plan, leaves: Mapping[str, Any]) -> _Array:
    import numpy

    value = leaves[plan["topic"]]
    array: _Array = numpy.asarray(value)
    return array.reshape(plan["shape"]).astype(plan["dtype"], copy=False)


def _unpack_numbers(plan: Plan, json: Any, at: str, nonfinite: Mapping[str, str]) -> Any:
    import numpy

    if plan["kind"] == "text":
        return json if "shape" not in plan else numpy.array(json, dtype=object).reshape(plan["shape"])
    if not nonfinite:
        array = numpy.array(json, dtype=plan["dtype"])
    else:
        flat = numpy.array(json, dtype=object).reshape(-1)
        for index in range(flat.size):
            if flat[index] is None:
                flat[index] = _NONFINITE[nonfinite[f"{at}#{index}"]]
        array = flat.astype(plan["dtype"])
    # A scalar is numpy's number, not an array without dimensions.
    return array.reshape(())[()] if plan["kind"] == "scalar" else array.reshape(plan["shape"])
