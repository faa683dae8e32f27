"""What recorded environments log.

In comes what passes through an environment, out go messages; nothing that passes is changed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakValueDictionary

from . import _spaces
from ._native import Recorder, Schema
from .errors import ConflictError

if TYPE_CHECKING:
    from ._spaces import Plan

# How much of an info is kept: this deep, and arrays of as many elements.
_INFO_DEPTH = 8
_INFO_ELEMENTS = 4096
_INTEGER_LIMIT = 1 << 63
_TEXT: dict[str, Any] = {"type": "string"}
_NUMBER: dict[str, Any] = {"type": "number"}
_INTEGER: dict[str, Any] = {"type": "integer"}
_BOOL: dict[str, Any] = {"type": "boolean"}
_OBJECT: dict[str, Any] = {"type": "object"}


class Log:
    """Where the messages of one environment go. One that is in use has its prefix of its recorder for itself."""

    # The recorder is held by what is found, so that its number is no other's.
    _in_use: ClassVar[WeakValueDictionary[tuple[int, str], Log]] = WeakValueDictionary()

    def __init__(self, recorder: Recorder, prefix: str, images: str) -> None:
        self.recorder = recorder
        self.prefix = prefix
        self.images = images
        self.run = f"{time.time_ns():x}-{os.urandom(3).hex()}"
        self.episode = ""
        self.index = -1
        self._is_open = False
        self._number = 0
        self._return = 0.0
        self._last_ns = 0
        self._plans: dict[str, Plan] = {}
        self._schemas: dict[str, Schema] = {}

    def begin(self, api: str, name: str, plans: dict[str, Plan]) -> None:
        """Says what the environment is.

        Raises:
            ConflictError: Another environment is recorded there.
        """
        self._claim()
        self._environment = {"run": self.run, "api": api, "name": name}
        self._plan(plans)

    def plan_reward(self, plan: Plan) -> None:
        """Says what rewards are, where nothing said so before there was one."""
        if self._plans["reward"] != plan:
            self._plan({**self._plans, "reward": plan})

    def _plan(self, plans: dict[str, Plan]) -> None:
        self._plans = plans
        values = {"observation", "action"}
        for part, plan in plans.items():
            if part in values:
                self._schemas[part] = _schema(self.prefix, part, {"value": _spaces.schema(plan)})
        step = {part: _spaces.schema(plans[part]) for part in ("reward", "discount")}
        self._schemas["step"] = _schema(self.prefix, "step", {**step, "terminated": _BOOL, "truncated": _BOOL})
        self._schemas["info"] = _schema(self.prefix, "info", {"info": _OBJECT})
        ends = {"end": _TEXT, "steps": _INTEGER, "return": _NUMBER}
        starts = {"number": _INTEGER, "seed": _INTEGER, "seed_text": _TEXT, "options": _OBJECT}
        self._schemas["episode"] = _schema(self.prefix, "episode", {"run": _TEXT, "phase": _TEXT, **starts, **ends})
        spec = {**self._environment, "plans": json.dumps(plans)}
        self.recorder.log(f"{self.prefix}/spec", spec, log_time=self.now(), latched=True)

    def now(self) -> int:
        """Returns a time that no message of this environment has had."""
        self._last_ns = max(time.time_ns(), self._last_ns + 1)
        return self._last_ns

    def start(self, seed: int | None, options: Any, observation: Any, info: Any) -> None:
        """Logs the start of an episode, and its first observation."""
        self._claim()
        self.end("reset")
        self.episode = f"{self.run}-{self._number:06}"
        self.index, self._is_open, self._return = 0, True, 0.0
        now = self.now()
        options, left_out = plain(options)
        body = {"run": self.run, "phase": "start", "number": self._number, "seed": seed, "options": options}
        if seed is not None and abs(seed) >= _INTEGER_LIMIT:
            body.update(seed=None, seed_text=str(seed))
        if left_out:
            body["left_out"] = left_out
        self._number += 1
        self._put("episode", body, now)
        self._observe(observation, info, now)

    def act(self, action: Any) -> None:
        """Logs the action that is about to be taken on the last observation."""
        if self._is_open:
            self._value("action", action, self.now())

    def arrive(
        self, observation: Any, *, terminated: bool, truncated: bool, info: Any = None, reward: Any, discount: Any
    ) -> None:
        """Logs an observation and what came with it. Behind the end of an episode it is the first one of the next."""
        if self._is_open:
            self._step(observation, terminated, truncated, info, {"reward": reward, "discount": discount})
        else:
            # The environment resets itself, as with gymnasium's Autoreset.
            self.start(None, None, observation, info)
        if terminated or truncated:
            # Of an episode that is both, the terminal state is what counts for values.
            self.end("terminated" if terminated else "truncated", self._last_ns)

    def _step(self, observation: Any, terminated: bool, truncated: bool, info: Any, came: dict[str, Any]) -> None:
        self.index += 1
        now = self.now()
        nonfinite: dict[str, str] = {}
        body: dict[str, Any] = {"terminated": terminated, "truncated": truncated}
        for part, value in came.items():
            packed, odd, leaves = _spaces.pack(self._plans[part], value)
            body[part] = packed
            nonfinite.update({f"/{part}{at}": name for at, name in odd.items()})
            self._leaves(leaves, now)
        if nonfinite:
            body["nonfinite"] = nonfinite
        self._return += total(came["reward"])
        self._put("step", body, now)
        self._observe(observation, info, now)

    def end(self, how: str, now: int | None = None) -> None:
        """Logs the end of the episode, if there is one."""
        if not self._is_open:
            return
        self._is_open = False
        body = {"run": self.run, "phase": "end", "end": how, "steps": self.index, "return": self._return}
        self._put("episode", body, self.now() if now is None else now)

    def close(self) -> None:
        """Logs the end of the episode, if there is one, and leaves the prefix to others."""
        if self._in_use.get(self._place) is self:
            del self._in_use[self._place]
        self.end("closed")

    def picture(self, pixels: Any) -> None:
        """Logs what the environment looks like."""
        frame_id = f"{self.episode}/{self.index}"
        self.recorder.log(f"{self.prefix}/render", pixels, log_time=self._last_ns, frame_id=frame_id)

    def _claim(self) -> None:
        if self._in_use.setdefault(self._place, self) is not self:
            raise ConflictError(
                f"another environment is recorded as '{self.prefix}' by this recorder, and their steps would mix: give "
                "this one another prefix, or close the other one"
            )

    @property
    def _place(self) -> tuple[int, str]:
        return id(self.recorder), self.prefix

    def _observe(self, observation: Any, info: Any, now: int) -> None:
        self._value("observation", observation, now)
        if info:
            kept, left_out = plain(info)
            body = {"info": kept, **({"left_out": left_out} if left_out else {})}
            self._put("info", body, now)

    def _value(self, part: str, value: Any, now: int) -> None:
        packed, nonfinite, leaves = _spaces.pack(self._plans[part], value)
        self._leaves(leaves, now)
        self._put(part, {"value": packed, **({"nonfinite": nonfinite} if nonfinite else {})}, now)

    def _leaves(self, leaves: list[_spaces.Leaf], now: int) -> None:
        for leaf in leaves:
            frame_id = f"{self.episode}/{self.index}" if leaf.is_picture else None
            self.recorder.log(leaf.topic, leaf.value, log_time=now, frame_id=frame_id)

    def _put(self, part: str, body: dict[str, Any], now: int) -> None:
        message = {"episode": self.episode, "step": self.index, **body}
        self.recorder.log(f"{self.prefix}/{part}", message, log_time=now, schema=self._schemas[part])


def plain(value: Any) -> tuple[Any, list[str]]:
    """Returns what of a value JSON has a place for, and the names of what was left out."""
    left_out: list[str] = []

    def walk(value: Any, at: str, depth: int) -> Any:
        if value is None or isinstance(value, (bool, float, str)):
            return value
        if isinstance(value, int) and abs(value) < _INTEGER_LIMIT:
            return value
        if depth < _INFO_DEPTH and isinstance(value, Mapping):
            return {str(key): walk(item, f"{at}/{key}", depth + 1) for key, item in value.items()}
        if depth < _INFO_DEPTH and isinstance(value, (list, tuple)) and len(value) <= _INFO_ELEMENTS:
            return [walk(item, f"{at}/{index}", depth + 1) for index, item in enumerate(value)]
        array: Any = value
        if getattr(getattr(array, "dtype", None), "kind", "") in ("b", "i", "u", "f") and array.size <= _INFO_ELEMENTS:
            return array.tolist()
        left_out.append(at or "/")
        return None

    return walk(value, "", 0), left_out


def _schema(prefix: str, part: str, properties: Mapping[str, Any]) -> Schema:
    known = {name: schema for name, schema in properties.items() if schema is not None}
    fields = {"episode": _TEXT, "step": _INTEGER, **known}
    name = f"{prefix.strip('/').replace('/', '.') or 'env'}.{part.capitalize()}"
    return Schema(name, "jsonschema", json.dumps({"title": name, "type": "object", "properties": fields}))


def total(value: Any) -> float:
    """Returns the sum of a reward, which may have parts."""
    import numpy

    if isinstance(value, Mapping):
        return sum(total(part) for part in value.values())
    if isinstance(value, (list, tuple)):
        return sum(total(part) for part in value)
    return 0.0 if value is None else float(numpy.sum(value))
