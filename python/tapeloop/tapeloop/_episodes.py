"""Recorded environments as steps, aligned as the field's conventions have it.

In come messages in the order of their log times, which one observation and all that came with it share; out go steps.
Only what a step needs is held at a time.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from . import _spaces
from ._native import Clip, Message, Recording
from ._native import open as _open
from .errors import CorruptError, Error, InvalidError, NotFoundError

if TYPE_CHECKING:
    import numpy as np

    _Time: TypeAlias = int | str | datetime | np.datetime64

# What messages that are not as they were logged end in.
_UNREADABLE = (Error, AttributeError, LookupError, TypeError, ValueError)
_PARTS = ("spec", "episode", "observation", "action", "step", "info")


@dataclass(frozen=True)
class Step:
    """One step of an episode: what stands together in it is the convention's, see :func:`steps`."""

    episode: str
    """The id of its episode, the same in every message of it."""
    index: int
    """Its place in the episode: that of its observation, from 0."""
    log_time: int
    """When its observation was recorded; ns UTC."""
    observation: Any
    action: Any
    reward: Any
    discount: Any
    is_first: bool
    """Whether its observation is that of a reset."""
    is_last: bool
    """Whether no other step of its episode follows."""
    is_terminal: bool
    """Whether the episode ended in a terminal state here, and was not cut off."""
    info: Any = None
    """Gymnasium's info that came with its observation; in the gymnasium convention, that of the step."""
    next_observation: Any = None
    """What the action led to; only in the gymnasium convention."""
    terminated: bool = False
    truncated: bool = False
    end: str | None = None
    """On the last step, how the episode ended: ``terminated``, ``truncated``, ``reset`` before its end, ``closed``,
    or ``cut`` where the recording has no more of it."""


@dataclass
class _Moment:
    """An observation, what came with it, and what was done on it."""

    episode: str
    index: int
    log_time: int
    observation: Any
    came: dict[str, Any]
    info: Any
    acted: bool = False
    action: Any = None
    end: str | None = None


@dataclass
class _Group:
    """The messages of one log time, by topic."""

    log_time: int
    bodies: dict[str, Any] = field(default_factory=dict)
    leaves: dict[str, Message] = field(default_factory=dict)


# A moment, whether the one before is in the recording, and the one behind it if that is.
_Link: TypeAlias = tuple[_Moment, "_Moment | None", "_Moment | None"]


def steps(
    recording: Recording | Clip | str | os.PathLike[str],
    *,
    convention: Literal["rlds", "envlogger", "gymnasium"] = "rlds",
    prefix: str = "/env",
    start: _Time | None = None,
    end: _Time | None = None,
) -> Iterator[Step]:
    """Iterates over the steps of a recorded environment, episode by episode.

    An episode of ``n`` actions has ``n + 1`` observations: ``o_0``, on which ``a_0`` was taken, which gave ``r_1``
    and ``o_1``, and so on up to ``o_n``.

    - ``rlds``: step ``t`` is ``o_t``, ``a_t``, and the reward and discount that taking it gave (``r_{t+1}``). There are
      ``n + 1`` steps; of the last one only the observation means something, its action, reward and discount are
      ``None``.
    - ``envlogger``: step ``t`` is ``o_t``, the reward and discount that came with it (``r_t``), and the action that
      led to it (``a_{t-1}``). There are ``n + 1`` steps; of the first one action, reward and discount are ``None``.
    - ``gymnasium``: step ``t`` is a transition: ``o_t``, ``a_t``, ``r_{t+1}``, ``terminated`` and ``truncated``, and
      ``o_{t+1}`` as ``next_observation``. There are ``n`` steps.

    Values are what the environment gave: numpy arrays of their type and shape. Pictures that were logged as JPEG are
    not exact.

    Args:
        recording: A clip, a recording, or the path of one.
        convention: Whose alignment.
        prefix: Where the environment was logged.
        start: The first log time.
        end: The log time behind the last.

    Raises:
        NotFoundError: No environment was logged there.

    Warns:
        UserWarning: Messages are missing in the recording, or cannot be read: how many gaps there are. What is around
            a gap is not joined: the step before it ends with ``cut``.
    """
    align = {"rlds": _rlds, "envlogger": _envlogger, "gymnasium": _gymnasium}.get(convention)
    if align is None:
        raise InvalidError(f"convention={convention!r}; one of 'rlds', 'envlogger' and 'gymnasium'")
    source = recording if isinstance(recording, (Recording, Clip)) else _open(recording)
    prefix = prefix.rstrip("/")
    if f"{prefix}/spec" not in source.topics:
        raise NotFoundError(f"no environment was recorded as '{prefix}': there is no topic '{prefix}/spec'")
    return align(_links(source, prefix, start, end))


def _rlds(links: Iterable[_Link]) -> Iterator[Step]:
    for moment, _, after in links:
        came = after.came if after else {}
        yield _step(moment, after, action=moment.action if after else None, came=came)


def _envlogger(links: Iterable[_Link]) -> Iterator[Step]:
    for moment, before, after in links:
        yield _step(moment, after, action=before.action if before else None, came=moment.came)


def _gymnasium(links: Iterable[_Link]) -> Iterator[Step]:
    for moment, before, after in links:
        if before is not None:
            is_last = after is None
            yield Step(
                episode=before.episode,
                index=before.index,
                log_time=before.log_time,
                observation=before.observation,
                action=before.action,
                reward=moment.came.get("reward"),
                discount=moment.came.get("discount"),
                is_first=before.index == 0,
                is_last=is_last,
                is_terminal=is_last and bool(moment.came.get("terminated")),
                info=moment.info,
                next_observation=moment.observation,
                terminated=bool(moment.came.get("terminated")),
                truncated=bool(moment.came.get("truncated")),
                end=(moment.end or "cut") if is_last else None,
            )


def _step(moment: _Moment, after: _Moment | None, *, action: Any, came: dict[str, Any]) -> Step:
    is_last = after is None
    return Step(
        episode=moment.episode,
        index=moment.index,
        log_time=moment.log_time,
        observation=moment.observation,
        action=action,
        reward=came.get("reward"),
        discount=came.get("discount"),
        is_first=moment.index == 0,
        is_last=is_last,
        is_terminal=is_last and bool(moment.came.get("terminated")),
        info=moment.info,
        terminated=bool(moment.came.get("terminated")),
        truncated=bool(moment.came.get("truncated")),
        end=(moment.end or "cut") if is_last else None,
    )


def _links(source: Recording | Clip, prefix: str, start: _Time | None, end: _Time | None) -> Iterator[_Link]:
    """Yields each moment between its neighbours in the episode, where nothing between them is missing."""
    before: _Moment | None = None
    current: _Moment | None = None
    gaps = _Gaps()
    for moment in _moments(source, prefix, start, end, gaps):
        if current is not None:
            joined = moment.episode == current.episode and moment.index == current.index + 1 and current.acted
            if not joined and moment.index > 0:
                gaps.count += 1
            yield current, before, moment if joined else None
            before = current if joined else None
        current = moment
    if current is not None:
        yield current, before, None
    gaps.warn(prefix)


@dataclass
class _Gaps:
    """What cannot be joined or rebuilt."""

    count: int = 0
    first: str = "a message is missing"

    def add(self, why: Exception) -> None:
        if self.count == 0:
            self.first = str(why)
        self.count += 1

    @contextmanager
    def take(self) -> Iterator[None]:
        """Makes what cannot be read inside of it a gap."""
        try:
            yield
        except _UNREADABLE as error:
            self.add(error)

    def warn(self, prefix: str) -> None:
        if self.count:
            warnings.warn(f"{self.count} gaps in the steps of '{prefix}': {self.first}", UserWarning, stacklevel=3)


def _moments(
    source: Recording | Clip, prefix: str, start: _Time | None, end: _Time | None, gaps: _Gaps
) -> Iterator[_Moment]:
    """Yields the moments, each when the next one begins: then its action and its end are known."""
    specs: dict[str, Any] = {}
    current: _Moment | None = None
    for group in _groups(source, prefix, start, end, gaps):
        with gaps.take():
            _learn(specs, group.bodies.get("spec"))
        body = group.bodies.get("action")
        with gaps.take():
            if body and current and (body["episode"], body["step"]) == (current.episode, current.index):
                plans = _plans(specs, body["episode"], source, prefix)
                current.action, current.acted = _value(plans["action"], body, group.leaves, "value"), True
        body = group.bodies.get("observation")
        if body:
            if current is not None:
                yield current
                current = None
            with gaps.take():
                current = _moment(_plans(specs, body["episode"], source, prefix), body, group)
        body = group.bodies.get("episode")
        with gaps.take():
            if body and body["phase"] == "end" and current and body["episode"] == current.episode:
                current.end = body["end"]
    if current is not None:
        yield current


def _moment(plans: Any, body: Any, group: _Group) -> _Moment:
    index, came = int(body["step"]), {}
    step = group.bodies.get("step")
    if step is not None:
        came = {part: _value(plans[part], step, group.leaves, part) for part in ("reward", "discount")}
        came.update({part: step.get(part) for part in ("terminated", "truncated")})
    elif index > 0:
        raise CorruptError(f"step {index} of episode {body['episode']} has no reward")
    info = group.bodies.get("info", {}).get("info")
    value = _value(plans["observation"], body, group.leaves, "value")
    return _Moment(body["episode"], index, group.log_time, value, came, info)


def _value(plan: _spaces.Plan, body: Any, leaves: dict[str, Message], part: str) -> Any:
    start = "" if part == "value" else f"/{part}"
    nonfinite = {at[len(start) :]: name for at, name in body.get("nonfinite", {}).items() if at.startswith(start)}
    values = {topic: leaves[topic].value for topic in _spaces.leaf_topics(plan) if topic in leaves}
    return _spaces.unpack(plan, body.get(part), nonfinite, values)


def _plans(specs: dict[str, Any], episode: str, source: Recording | Clip, prefix: str) -> Any:
    run = episode.rsplit("-", 1)[0]
    if run not in specs:
        # A span that begins later than the environment has its latched spec under its own, earlier time.
        for message in source.messages(f"{prefix}/spec"):
            with suppress(*_UNREADABLE):
                _learn(specs, message.value)
        # It is looked for once.
        specs.setdefault(run, None)
    if specs[run] is None:
        raise NotFoundError(f"the spec of '{prefix}', run {run}, is not in the recording: nobody knows its values")
    return specs[run]


def _learn(specs: dict[str, Any], spec: Any) -> None:
    if spec is not None:
        specs[spec["run"]] = json.loads(spec["plans"])


def _groups(
    source: Recording | Clip, prefix: str, start: _Time | None, end: _Time | None, gaps: _Gaps
) -> Iterator[_Group]:
    names = {f"{prefix}/{part}": part for part in _PARTS}
    group: _Group | None = None
    # The pictures of render() are not part of any step.
    for message in source.messages([f"{prefix}/**", f"!{prefix}/render"], start=start, end=end):
        if group is None or message.log_time != group.log_time:
            if group is not None:
                yield group
            group = _Group(message.log_time)
        part = names.get(message.topic)
        if part is not None:
            with gaps.take():
                group.bodies[part] = message.value
        else:
            group.leaves[message.topic] = message
    if group is not None:
        yield group
