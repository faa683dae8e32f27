"""Environments of gymnasium and dm_env: recorded while they run, and read as steps of the convention you train with.

Record by wrapping, and change nothing else::

    import gymnasium as gym
    import tapeloop as tl

    rec = tl.recorder("sim-1")
    env = tl.envs.record(gym.make("CartPole-v1"), rec)

Read, from a clip, a file or a folder::

    for step in tl.envs.steps("run-12.mcap", convention="rlds"):
        print(step.episode, step.index, step.observation, step.action, step.reward)

Everything with index ``t`` belongs to the observation ``o_t``: the action with that index was taken on it, the reward
with that index came with it. Neither gymnasium nor dm_env is needed before an environment of theirs comes in, nor for
reading.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ._episodes import Step, steps
from .errors import InvalidError

if TYPE_CHECKING:
    from ._native import Recorder

__all__ = ["Step", "record", "steps"]

_Env = TypeVar("_Env")


def record(
    env: _Env,
    recorder: Recorder,
    *,
    prefix: str = "/env",
    images: Literal["raw", "png", "jpeg"] = "raw",
    render: bool = False,
) -> _Env:
    """Wraps an environment, so that whatever passes through it is recorded. It is used as before.

    These topics are logged below ``prefix``, every message with the id of its episode and its index ``step`` in it:

    - ``/spec``: what the environment is, and what its values are; latched, so that every clip has it.
    - ``/observation``: ``value`` is ``o_t``. Arrays of more than 256 elements are topics of their own below it, and
      so are pictures (``uint8``, HxW, HxWx1, HxWx3 or HxWx4, at least 16 pixels each way), which ``frames()`` gives.
    - ``/action``: ``a_t``, with the time before the environment took it.
    - ``/step``: what came with ``o_t``: ``reward``, ``discount``, ``terminated`` and ``truncated``. None for ``o_0``.
    - ``/episode``: ``phase`` is ``start``, with the ``seed`` (``seed_text`` where it has more than 64 bits) and
      ``options`` of the reset, or ``end``, with its cause (``terminated``, ``truncated``, ``reset``, ``closed``), its
      number of steps and its return.
    - ``/info``: gymnasium's infos, of ``o_t``, where there are any. What JSON has no place for is listed in
      ``left_out``.

    What belongs to one observation has one log time. What the recorder raises is raised by ``step`` and ``reset``, and
    so is a value that its space has no place for, as 256 in one of ``uint8``: nothing is changed silently. Floats are
    rounded to their space's type. A step behind the end of an episode, as with gymnasium's ``Autoreset``, is the first
    observation of the next one.

    Args:
        env: A ``gymnasium.Env`` or a ``dm_env.Environment``.
        recorder: Where to log. It stays open when the environment is closed.
        prefix: Where its topics are; another for each environment that runs at the same time. It is free again when
            the environment is closed or gone.
        images: How pictures are logged: their pixels, or as PNG or JPEG, which need Pillow. JPEG is not exact.
        render: Whether to log what ``env.render()`` gives, as pictures on ``/render``: for ``render_mode="rgb_array"``.

    Returns:
        An environment of the same interface.

    Raises:
        ConflictError: Another environment is recorded by this recorder with this prefix.
        InvalidError: It is neither, or vectorised (wrap each of its environments instead), or has a space that
            cannot be recorded.
    """
    from ._environments import Log

    if images not in ("raw", "png", "jpeg"):
        raise InvalidError(f"images={images!r}; one of 'raw', 'png' and 'jpeg'")
    if images != "raw":
        _require_pillow(images)
    log = Log(recorder, prefix.rstrip("/"), images)
    gymnasium, dm_env = sys.modules.get("gymnasium"), sys.modules.get("dm_env")
    wrapped: Any
    given: Any = env
    if gymnasium is not None and isinstance(env, gymnasium.vector.VectorEnv):
        raise InvalidError(
            "a vector environment mixes the steps of many: record each of its environments, with a prefix of its own: "
            "SyncVectorEnv([lambda i=i: tl.envs.record(make(), rec, prefix=f'/env/{i}') for i in range(n)])"
        )
    if gymnasium is not None and isinstance(env, gymnasium.Env):
        from . import _gymnasium

        wrapped = _gymnasium.Recorded(given, log, render=render)
    elif dm_env is not None and isinstance(env, dm_env.Environment):
        if render:
            raise InvalidError("render=True is for gymnasium: dm_env has no render()")
        from . import _dm_env

        wrapped = _dm_env.Recorded(given, log)
    else:
        raise InvalidError(f"{type(env).__name__} is neither a gymnasium.Env nor a dm_env.Environment")
    return wrapped  # type: ignore[no-any-return]


def _require_pillow(images: str) -> None:
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise InvalidError(f"images={images!r} needs Pillow: pip install pillow") from error
