"""Environments of gymnasium that are recorded: imported when one comes in."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy

from . import _spaces
from ._environments import Log
from .errors import InvalidError


class Recorded(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment that is recorded.

    Args:
        env: The environment.
        log: Where its messages go.
        render: Whether to log what it looks like.

    Raises:
        InvalidError: It has a space that cannot be recorded, or does not render pixels.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], log: Log, *, render: bool) -> None:
        if render and env.render_mode != "rgb_array":
            raise InvalidError(f"render=True needs render_mode='rgb_array', not {env.render_mode!r}")
        super().__init__(env)
        self._log = log
        self._renders = render
        plans = {
            "observation": _spaces.of_space(env.observation_space, f"{log.prefix}/observation", log.images),
            "action": _spaces.of_space(env.action_space, f"{log.prefix}/action", log.images),
            "reward": _spaces.numbers(()),
            "discount": _spaces.numbers(()),
        }
        log.begin("gymnasium", env.spec.id if env.spec is not None else type(env.unwrapped).__name__, plans)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Resets the environment, and logs the start of an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._log.start(seed, options, observation, info)
        self._look()
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Takes a step, and logs the action and what came of it."""
        self._log.act(action)
        observation, reward, terminated, truncated, info = self.env.step(action)
        numbers = numpy.asarray(reward)
        # One number is a scalar in whatever array it is; of several nothing tells before there is one.
        numbers = numbers.reshape(()) if numbers.size == 1 else numbers
        self._log.plan_reward(_spaces.numbers(numbers.shape))
        came = {"reward": numbers, "discount": 0.0 if terminated else 1.0}
        self._log.arrive(observation, info=info, terminated=bool(terminated), truncated=bool(truncated), **came)
        self._look()
        return observation, reward, terminated, truncated, info

    def close(self) -> None:
        """Closes the environment, and ends the episode that it is in."""
        try:
            self._log.close()
        finally:
            self.env.close()

    def _look(self) -> None:
        if self._renders:
            self._log.picture(self.env.render())
