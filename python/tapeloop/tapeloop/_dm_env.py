"""Environments of dm_env that are recorded: imported when one comes in."""

from __future__ import annotations

from abc import ABCMeta
from typing import Any

import dm_env  # type: ignore[import-untyped]

from . import _spaces
from ._environments import Log, total


class Recorded(dm_env.Environment, metaclass=ABCMeta):  # type: ignore[misc]
    """An environment that is recorded.

    Args:
        env: The environment.
        log: Where its messages go.

    Raises:
        InvalidError: It has a spec that cannot be recorded.
    """

    def __init__(self, env: dm_env.Environment, log: Log) -> None:
        self._env = env
        self._log = log
        specs = {
            "observation": env.observation_spec(),
            "action": env.action_spec(),
            "reward": env.reward_spec(),
            "discount": env.discount_spec(),
        }
        plans = {part: _spaces.of_spec(spec, f"{log.prefix}/{part}", log.images) for part, spec in specs.items()}
        log.begin("dm_env", type(env).__name__, plans)

    def reset(self) -> dm_env.TimeStep:
        """Resets the environment, and logs the start of an episode."""
        return self._note(self._env.reset())

    def step(self, action: Any) -> dm_env.TimeStep:
        """Takes a step, and logs the action and what came of it."""
        # Behind the last step, and before the first, the action is ignored: this is a reset.
        self._log.act(action)
        return self._note(self._env.step(action))

    def close(self) -> None:
        """Closes the environment, and ends the episode that it is in."""
        try:
            self._log.close()
        finally:
            self._env.close()

    def observation_spec(self) -> Any:
        """Returns the environment's."""
        return self._env.observation_spec()

    def action_spec(self) -> Any:
        """Returns the environment's."""
        return self._env.action_spec()

    def reward_spec(self) -> Any:
        """Returns the environment's."""
        return self._env.reward_spec()

    def discount_spec(self) -> Any:
        """Returns the environment's."""
        return self._env.discount_spec()

    def __getattr__(self, name: str) -> Any:
        """Returns what else the environment has."""
        if name == "_env":
            raise AttributeError(name)
        return getattr(self._env, name)

    def _note(self, step: dm_env.TimeStep) -> dm_env.TimeStep:
        if step.first():
            self._log.start(None, None, step.observation, None)
            return step
        terminated = bool(step.last() and total(step.discount) == 0)
        came = {"reward": step.reward, "discount": step.discount}
        self._log.arrive(
            step.observation, terminated=terminated, truncated=bool(step.last() and not terminated), **came
        )
        return step
