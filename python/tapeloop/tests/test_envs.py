from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import dm_env
import gymnasium as gym
import numpy as np
import pytest
from dm_env import specs
from gymnasium import spaces

import tapeloop as tl

from .conftest import Foreign


def play(env: gym.Env[Any, Any], seeds: list[int], *, limit: int = 1000) -> list[list[dict[str, Any]]]:
    """Plays an episode per seed, and notes everything that passes, without the recorder's help.

    With an odd seed the pole is held up, with an even one it is pushed over.
    """
    episodes = []
    for seed in seeds:
        observation, info = env.reset(seed=seed)
        moments: list[dict[str, Any]] = [{"observation": observation, "info": info}]
        for _ in range(limit):
            action = np.int64(observation[2] > 0) if seed % 2 else np.int64(1)
            observation, reward, terminated, truncated, info = env.step(action)
            moments[-1]["action"] = action
            moments.append(
                {
                    "observation": observation,
                    "reward": reward,
                    "terminated": terminated,
                    "truncated": truncated,
                    "info": info,
                }
            )
            if terminated or truncated:
                break
        episodes.append(moments)
    return episodes


def saved(rec: tl.Recorder) -> tl.Clip:
    return rec.save(before="1 h", after=0)


def by_episode(steps: Any) -> list[list[tl.envs.Step]]:
    episodes: dict[str, list[tl.envs.Step]] = {}
    for step in steps:
        episodes.setdefault(step.episode, []).append(step)
    return list(episodes.values())


def test_cart_pole_is_recorded_step_by_step_in_every_convention(rec: tl.Recorder, tmp_path: Path) -> None:
    env = tl.envs.record(gym.make("CartPole-v1", max_episode_steps=25), rec)
    assert isinstance(env, gym.Env)
    assert env.unwrapped.spec is not None and env.unwrapped.spec.id == "CartPole-v1"
    played = play(env, [1, 2, 3, 4, 5])
    env.close()
    ends = {(moments[-1]["terminated"], moments[-1]["truncated"]) for moments in played}
    assert {(True, False), (False, True)} <= ends, "the seeds give episodes of both kinds"
    clip = saved(rec)
    path = tmp_path / "cart.mcap"
    clip.export(path)

    for source in (clip, path, tl.open(path)):
        rlds = by_episode(tl.envs.steps(source, convention="rlds"))
        assert [len(steps) for steps in rlds] == [len(moments) for moments in played]
        for moments, steps in zip(played, rlds, strict=True):
            for t, (moment, step) in enumerate(zip(moments, steps, strict=True)):
                assert step.index == t and step.observation.dtype == np.float32
                np.testing.assert_array_equal(step.observation, moment["observation"])
                last = t == len(moments) - 1
                assert (step.is_first, step.is_last) == (t == 0, last)
                assert step.is_terminal == (last and moment["terminated"])
                if last:
                    assert (step.action, step.reward, step.discount) == (None, None, None)
                    assert step.end == ("terminated" if moment["terminated"] else "truncated")
                else:
                    assert (step.action, step.reward) == (moment["action"], moments[t + 1]["reward"])
                    assert step.discount == (0.0 if moments[t + 1]["terminated"] else 1.0)

    logger = by_episode(tl.envs.steps(path, convention="envlogger"))
    for moments, steps in zip(played, logger, strict=True):
        for t, (moment, step) in enumerate(zip(moments, steps, strict=True)):
            np.testing.assert_array_equal(step.observation, moment["observation"])
            if t == 0:
                assert (step.action, step.reward, step.discount) == (None, None, None) and step.is_first
            else:
                assert (step.action, step.reward) == (moments[t - 1]["action"], moment["reward"])
                assert step.discount == (0.0 if moment["terminated"] else 1.0)
        assert steps[-1].is_last and steps[-1].is_terminal == moments[-1]["terminated"]

    transitions = by_episode(tl.envs.steps(path, convention="gymnasium"))
    for moments, steps in zip(played, transitions, strict=True):
        assert len(steps) == len(moments) - 1
        for t, step in enumerate(steps):
            after = moments[t + 1]
            np.testing.assert_array_equal(step.observation, moments[t]["observation"])
            np.testing.assert_array_equal(step.next_observation, after["observation"])
            assert (step.action, step.reward) == (moments[t]["action"], after["reward"])
            assert (step.terminated, step.truncated) == (after["terminated"], after["truncated"])
            assert (step.is_first, step.is_last) == (t == 0, t == len(steps) - 1)


def test_topics_have_schemas_and_episodes_have_seeds(rec: tl.Recorder, recorded: Callable[..., list[Foreign]]) -> None:
    env = tl.envs.record(gym.make("CartPole-v1"), rec, prefix="/sim/cart")
    played = play(env, [11], limit=5)
    env.reset(seed=12, options={"low": -0.01, "high": 0.01})
    env.close()
    messages = recorded(rec)
    of = {
        topic: [m for m in messages if m.topic == f"/sim/cart/{topic}"] for topic in ("observation", "action", "step")
    }
    assert [len(of[topic]) for topic in of] == [7, 5, 5]
    assert {m.encoding for m in messages if m.topic.startswith("/sim")} == {"json"}
    observation = of["observation"][2]
    assert observation.schema_name == "sim.cart.Observation"
    assert observation.schema["properties"]["value"] == {"type": "array", "items": {"type": "number"}}
    assert of["action"][0].schema["properties"]["value"] == {"type": "integer"}
    assert observation.value["step"] == 2 and of["step"][1].value["step"] == 2
    assert observation.log_time == of["step"][1].log_time, "what belongs together has one time"
    assert of["action"][1].log_time < observation.log_time < of["action"][2].log_time

    events = [m.value for m in messages if m.topic == "/sim/cart/episode"]
    shown = [(e["phase"], e.get("seed"), e.get("end"), e.get("steps")) for e in events]
    assert shown == [
        ("start", 11, None, None),
        ("end", None, "reset", 5),
        ("start", 12, None, None),
        ("end", None, "closed", 0),
    ]
    assert events[1]["return"] == sum(moment.get("reward", 0) for moment in played[0])
    assert events[2]["options"] == {"low": -0.01, "high": 0.01}
    assert len({m.value["episode"] for m in of["observation"]}) == 2

    table = saved(rec)["/sim/cart/step"].to_numpy("reward")
    np.testing.assert_array_equal(table, [1.0] * 5)
    steps = by_episode(tl.envs.steps(saved(rec), prefix="/sim/cart"))
    assert [(s[-1].end, len(s)) for s in steps] == [("reset", 6), ("closed", 1)]


class Mixed(gym.Env[Any, Any]):
    """An environment of every kind of space."""

    def __init__(self) -> None:
        self.observation_space = spaces.Dict(
            {
                "camera": spaces.Box(0, 255, (24, 32, 3), np.uint8),
                "gray": spaces.Box(0, 255, (20, 20, 1), np.uint8),
                "ram": spaces.Box(0, 255, (128,), np.uint8),
                "stack": spaces.Box(0, 255, (4, 20, 20), np.uint8),
                "half": spaces.Box(-1, 1, (300,), np.float16),
                "odd": spaces.Box(-np.inf, np.inf, (2, 2), np.float64),
                "text": spaces.Text(20),
                "parts": spaces.Tuple((spaces.MultiBinary(3), spaces.MultiDiscrete([3, 4]), spaces.Discrete(5))),
            }
        )
        self.action_space = spaces.Dict({"gain": spaces.Box(-1, 1, (), np.float32), "on": spaces.MultiBinary(2)})
        self.given: list[Any] = []

    def observe(self) -> Any:
        observation = self.observation_space.sample()
        odd = observation["odd"]
        odd[0, 1], odd[1, 0], odd[1, 1] = math.nan, math.inf, -math.inf
        self.given.append(observation)
        return observation

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        info = {"array": np.arange(3), "deep": {"ok": np.bool_(True)}, "object": object(), "text": "x"}
        return self.observe(), np.float32(0.5), False, False, info


def assert_same(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        assert set(a) == set(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, str):
        assert a == b
    else:
        assert np.asarray(a).dtype == np.asarray(b).dtype and np.shape(a) == np.shape(b)
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("images", ["raw", "png"])
def test_every_kind_of_value_comes_back_as_it_was(rec: tl.Recorder, images: Any) -> None:
    inner = Mixed()
    env = tl.envs.record(inner, rec, images=images)
    env.reset(seed=3)
    actions = [env.action_space.sample() for _ in range(3)]
    for action in actions:
        env.step(action)
    clip = saved(rec)
    steps = list(tl.envs.steps(clip, convention="rlds"))
    assert len(steps) == len(inner.given) == 4
    for step, given in zip(steps, inner.given, strict=True):
        assert_same(given, step.observation)
    for step, action in zip(steps, actions, strict=False):
        assert_same(action, step.action)
    assert steps[0].reward == 0.5
    assert steps[1].info == {"array": [0, 1, 2], "deep": {"ok": True}, "object": None, "text": "x"}
    assert [m.value["left_out"] for m in clip["/env/info"]] == [["/object"]] * 3
    assert (steps[-1].end, steps[-1].is_last, steps[-1].is_terminal) == ("cut", True, False)

    frames = list(clip.frames("/env/observation/camera"))
    assert len(frames) == 4
    for frame, given in zip(frames, inner.given, strict=True):
        np.testing.assert_array_equal(frame.pixels, given["camera"])
    assert frames[2].frame_id.endswith("/2")
    np.testing.assert_array_equal(clip["/env/observation"].to_numpy("value.ram[0]"), [g["ram"][0] for g in inner.given])


def test_jpeg_is_small_and_near(rec: tl.Recorder) -> None:
    class Smooth(gym.Env[Any, Any]):
        observation_space = spaces.Box(0, 255, (64, 64, 3), np.uint8)
        action_space = spaces.Discrete(2)

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            row = np.linspace(0, 255, 64, dtype=np.uint8)
            return np.repeat(np.tile(row, (64, 1))[:, :, None], 3, axis=2), {}

    env = tl.envs.record(Smooth(), rec, images="jpeg")
    observation, _ = env.reset()
    clip = saved(rec)
    (message,) = clip["/env/observation/image"]
    assert message.type == "sensor_msgs/msg/CompressedImage" and len(message.data) < observation.size / 2
    (step,) = tl.envs.steps(clip)
    assert np.abs(step.observation.astype(int) - observation).max() < 10


def test_what_the_environment_looks_like_is_logged(rec: tl.Recorder) -> None:
    class Shown(Mixed):
        render_mode = "rgb_array"
        looks = 0

        def step(self, action: Any) -> Any:
            observation, reward, _, truncated, info = super().step(action)
            return observation, reward, True, truncated, info

        def render(self) -> Any:
            self.looks += 1
            return np.full((16, 16, 3), self.looks, np.uint8)

    env = tl.envs.record(Shown(), rec, render=True)
    env.reset(seed=1)
    env.step(env.action_space.sample())
    frames = list(saved(rec).frames("/env/render"))
    assert [(int(frame.pixels[0, 0, 0]), frame.frame_id.rsplit("/")[-1]) for frame in frames] == [(1, "0"), (2, "1")]
    with pytest.raises(tl.InvalidError, match="rgb_array"):
        tl.envs.record(gym.make("CartPole-v1"), rec, render=True)


class Catch(dm_env.Environment):
    """A ball falls; the last step of every other episode is a cut-off one."""

    def __init__(self) -> None:
        self.given: list[tuple[Any, dm_env.TimeStep]] = []
        self.t = 0
        self.episodes = 0
        self.extra = "here"

    def note(self, action: Any, step: dm_env.TimeStep) -> dm_env.TimeStep:
        self.given.append((action, step))
        return step

    def see(self) -> Any:
        ball = np.zeros((3, 4), np.float32)
        ball[self.t % 3, self.episodes % 4] = 1
        return {"ball": ball, "time": np.array(self.t, np.int64), "nested": [np.array([self.t / 3])]}

    def reset(self) -> dm_env.TimeStep:
        self.t = 0
        self.episodes += 1
        return self.note(None, dm_env.restart(self.see()))

    def step(self, action: Any) -> dm_env.TimeStep:
        if self.t == 0 and (not self.given or self.given[-1][1].last()):
            return self.reset()
        self.t += 1
        if self.t < 3:
            return self.note(action, dm_env.transition(reward=self.t * 0.5, observation=self.see(), discount=0.9))
        end = dm_env.termination if self.episodes % 2 else dm_env.truncation
        step = end(reward=10.0, observation=self.see())
        self.note(action, step)
        self.t = 0
        return step

    def observation_spec(self) -> Any:
        return {
            "ball": specs.BoundedArray((3, 4), np.float32, 0, 1, name="ball"),
            "time": specs.Array((), np.int64),
            "nested": [specs.Array((1,), np.float64)],
        }

    def action_spec(self) -> Any:
        return specs.DiscreteArray(3, dtype=np.int32, name="move")


def test_dm_env_is_recorded_in_every_convention(rec: tl.Recorder) -> None:
    inner = Catch()
    env = tl.envs.record(inner, rec)
    assert isinstance(env, dm_env.Environment) and env.extra == "here"
    assert env.action_spec() == inner.action_spec()
    env.reset()
    for action in (0, 1, 2, 0, 1, 2, 1, 1, 0):
        # Behind a last step the next one is a reset, whose action means nothing.
        env.step(np.int32(action))
    env.close()
    given: list[list[tuple[Any, dm_env.TimeStep]]] = []
    for action, step in inner.given:
        if step.first():
            given.append([])
        given[-1].append((action, step))
    assert [len(episode) for episode in given] == [4, 4, 2]
    clip = saved(rec)

    logger = by_episode(tl.envs.steps(clip, convention="envlogger"))
    assert [len(steps) for steps in logger] == [4, 4, 2]
    for episode, steps in zip(given, logger, strict=True):
        for (action, was), step in zip(episode, steps, strict=True):
            assert set(step.observation) == {"ball", "time", "nested"}
            np.testing.assert_array_equal(step.observation["ball"], was.observation["ball"])
            assert step.observation["time"] == was.observation["time"]
            assert step.observation["nested"] == [was.observation["nested"][0]]
            assert (step.action, step.reward, step.discount) == (action, was.reward, was.discount)
            assert (step.is_first, step.is_last) == (was.first(), was.last() or step is logger[2][1])
    rlds = by_episode(tl.envs.steps(clip, convention="rlds"))
    for episode, steps in zip(given, rlds, strict=True):
        for t, step in enumerate(steps[:-1]):
            action, after = episode[t + 1]
            assert (step.action, step.reward, step.discount) == (action, after.reward, after.discount)
        assert (steps[-1].action, steps[-1].reward) == (None, None)
    assert [(steps[-1].end, steps[-1].is_terminal) for steps in rlds] == [
        ("terminated", True),
        ("truncated", False),
        ("closed", False),
    ]
    assert cast(Any, rlds[0][0].action).dtype == np.int32


def test_what_cannot_be_recorded_is_refused(rec: tl.Recorder) -> None:
    vector = gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync")
    with pytest.raises(tl.InvalidError, match="vector environment"):
        tl.envs.record(vector, rec)
    with pytest.raises(tl.InvalidError, match="neither"):
        tl.envs.record(object(), rec)
    with pytest.raises(tl.InvalidError, match="images='webp'"):
        tl.envs.record(Mixed(), rec, images=cast(Any, "webp"))

    class Odd(Mixed):
        def __init__(self) -> None:
            super().__init__()
            self.observation_space = cast(Any, spaces.Sequence(spaces.Discrete(3)))

    with pytest.raises(tl.InvalidError, match="Sequence on '/env/observation'"):
        tl.envs.record(Odd(), rec)

    class Wrong(Mixed):
        def observe(self) -> Any:
            return {**super().observe(), "ram": np.zeros(3, np.uint8)}

    with pytest.raises(tl.InvalidError, match=r"'/ram': an array of shape \[3\]"):
        tl.envs.record(Wrong(), rec).reset(seed=1)
    with pytest.raises(tl.NotFoundError, match="no environment was recorded as '/nothing'"):
        tl.envs.steps(saved(rec), prefix="/nothing")
    with pytest.raises(tl.InvalidError, match="one of 'rlds'"):
        tl.envs.steps(saved(rec), convention=cast(Any, "d4rl"))


@pytest.mark.parametrize(
    ("dtype", "value", "told"),
    [
        (np.uint8, -1, "-1 as uint8 is 255"),
        (np.uint8, 256, "256 as uint8 is 0"),
        (np.int64, 0.7, "0.7 as int64 is 0"),
        (np.int64, math.nan, "nan as int64"),
        (np.int64, 2**70, "too large"),
        (np.float32, 1e300, r"1e\+300 as float32 is inf"),
    ],
)
def test_a_value_that_its_space_has_no_place_for_is_refused(
    rec: tl.Recorder, dtype: Any, value: Any, told: str
) -> None:
    class Off(Mixed):
        def __init__(self) -> None:
            super().__init__()
            self.observation_space = cast(Any, spaces.Box(0, 9, (2,), dtype))

        def observe(self) -> Any:
            return [1, value]

    env = tl.envs.record(Off(), rec)
    with pytest.raises(tl.InvalidError, match=told):
        env.reset(seed=1)


def test_values_of_another_type_that_fit_are_taken(rec: tl.Recorder) -> None:
    class Wide(Mixed):
        def __init__(self) -> None:
            super().__init__()
            self.observation_space = cast(Any, spaces.Tuple((spaces.Box(0, 9, (2,), np.float32), spaces.Discrete(3))))

        def observe(self) -> Any:
            return np.array([0.1, math.nan]), 2.0

    env = tl.envs.record(Wide(), rec)
    env.reset(seed=1)
    (step,) = tl.envs.steps(saved(rec))
    np.testing.assert_array_equal(step.observation[0], np.array([0.1, math.nan], np.float32))
    assert step.observation[1] == 2


def test_two_environments_need_a_prefix_each(rec: tl.Recorder, tmp_path: Path) -> None:
    first = tl.envs.record(gym.make("CartPole-v1"), rec)
    with pytest.raises(tl.ConflictError, match=r"recorded as '/env'.*another prefix"):
        tl.envs.record(gym.make("CartPole-v1"), rec, prefix="/env/")
    tl.envs.record(gym.make("CartPole-v1"), rec, prefix="/other").reset(seed=1)
    with tl.recorder("other", data=tmp_path / "other", keep="1 h") as other:
        tl.envs.record(gym.make("CartPole-v1"), other).reset(seed=1)
    first.reset(seed=1)
    first.close()
    second = tl.envs.record(gym.make("CartPole-v1"), rec)
    second.reset(seed=2)
    with pytest.raises(tl.ConflictError, match="another prefix"):
        first.reset(seed=3)
    del second
    third = tl.envs.record(gym.make("CartPole-v1"), rec)
    third.reset(seed=4)
    assert [step.end for step in tl.envs.steps(saved(rec))] == ["closed", "cut", "cut"]


def test_an_environment_may_reset_itself(rec: tl.Recorder) -> None:
    env = tl.envs.record(gym.wrappers.Autoreset(gym.make("CartPole-v1", max_episode_steps=2)), rec)
    observations = [env.reset(seed=1)[0]]
    for _ in range(4):
        observations.append(env.step(0)[0])
    steps = list(tl.envs.steps(saved(rec)))
    assert [(step.index, step.end) for step in steps] == [
        (0, None),
        (1, None),
        (2, "truncated"),
        (0, None),
        (1, "cut"),
    ]
    for step, observation in zip(steps, observations, strict=True):
        np.testing.assert_array_equal(step.observation, observation)


def test_rewards_may_have_several_parts_and_seeds_any_size(
    rec: tl.Recorder, recorded: Callable[..., list[Foreign]]
) -> None:
    rewards = [1, np.array([0.5]), np.array([1.0, math.inf]), np.float32(0.25)]

    class Parts(Mixed):
        def step(self, action: Any) -> Any:
            return self.observe(), rewards[len(self.given) - 2], False, False, {}

    env = tl.envs.record(Parts(), rec)
    env.reset(seed=2**70, options={"large": 2**70})
    for _ in rewards:
        env.step(env.action_space.sample())
    steps = list(tl.envs.steps(saved(rec)))
    assert [np.asarray(step.reward).tolist() for step in steps] == [1.0, 0.5, [1.0, math.inf], 0.25, None]
    (started,) = [message.value for message in recorded(rec, "/env/episode")]
    assert (started["seed"], started["seed_text"], started["left_out"]) == (None, str(2**70), ["/large"])


def test_an_environment_is_closed_whatever_becomes_of_its_log(tmp_path: Path) -> None:
    closed: list[str] = []

    class Closing(Mixed):
        def close(self) -> None:
            closed.append("gymnasium")

    class ClosingCatch(Catch):
        def close(self) -> None:
            closed.append("dm_env")

    with tl.recorder("rover-7", data=tmp_path / "tape", keep="1 h") as rec:
        envs = [tl.envs.record(Closing(), rec), tl.envs.record(cast(Any, ClosingCatch()), rec, prefix="/dm")]
        for env in envs:
            env.reset()
    for env in envs:
        with pytest.raises(tl.UnavailableError):
            env.close()
    assert closed == ["gymnasium", "dm_env"]


def test_what_cannot_be_read_is_a_gap(rec: tl.Recorder) -> None:
    for seed in (1, 3):
        env = tl.envs.record(gym.make("CartPole-v1"), rec)
        play(env, [seed], limit=3)
        env.close()
    # Of a run whose spec is not there, and what nobody can read, between the others.
    clip = saved(rec)
    second = [step for step in clip["/env/observation"] if step.value["step"] == 0][1]
    rec.log("/env/observation", {"episode": "0-abc-000000", "step": 0, "value": []}, log_time=second.log_time - 3)
    rec.log("/env/observation", {"strange": 1}, log_time=second.log_time - 2)
    rec.log("/env/action", b"{", schema=second.schema, encoding="json", log_time=second.log_time - 1)
    with pytest.warns(UserWarning, match="3 gaps in the steps of '/env': the spec of '/env', run 0-abc"):
        steps = list(tl.envs.steps(saved(rec)))
    assert [(step.index, step.end) for step in steps] == [(0, None), (1, None), (2, None), (3, "closed")] * 2


def test_episodes_that_are_mixed_up_are_gaps(rec: tl.Recorder, tmp_path: Path) -> None:
    # Two processes that record into one agent do not know of each other.
    with tl.recorder("other", data=tmp_path / "other", keep="1 h") as other:
        envs = [tl.envs.record(gym.make("CartPole-v1"), recorder) for recorder in (rec, other)]
        for env in envs:
            env.reset(seed=1)
        for env in envs:
            env.step(0)
        for m in saved(other).messages("/env/**"):
            rec.log(m.topic, m.data, schema=m.schema, encoding=m.encoding, log_time=m.log_time)
    with pytest.warns(UserWarning, match="2 gaps in the steps of '/env'"):
        assert [step.end for step in tl.envs.steps(saved(rec))] == ["cut"] * 4


def test_steps_around_a_gap_are_not_joined(rec: tl.Recorder, tmp_path: Path) -> None:
    env = tl.envs.record(gym.make("CartPole-v1"), rec)
    play(env, [5], limit=8)
    clip = saved(rec)
    times = [message.log_time for message in clip["/env/observation"]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(tl.envs.steps(clip, start=times[2]))) == len(times) - 2, "a span may begin within an episode"
    steps = list(tl.envs.steps(clip, start=times[2]))
    assert [step.is_first for step in steps] == [False] * len(steps)

    # The same messages without one observation.
    with tl.recorder("copy", data=tmp_path / "copy", keep="1 h") as copy:
        for message in clip.messages("/env/**"):
            if message.topic == "/env/observation" and message.value["step"] == 4:
                continue
            copy.log(
                message.topic,
                message.data,
                schema=message.schema,
                encoding=message.encoding,
                log_time=message.log_time,
            )
        copied = saved(copy)
        with pytest.warns(UserWarning, match="1 gaps in the steps of '/env'"):
            steps = list(tl.envs.steps(copied, convention="rlds"))
    assert [(step.index, step.end) for step in steps if step.is_last] == [(3, "cut"), (8, "cut")]
    assert [step.action is None for step in steps] == [step.is_last for step in steps]


def test_vector_environments_are_recorded_one_by_one(rec: tl.Recorder) -> None:
    envs = gym.vector.SyncVectorEnv(
        [lambda i=i: tl.envs.record(gym.make("CartPole-v1"), rec, prefix=f"/env/{i}") for i in range(2)]
    )
    observations, _ = envs.reset(seed=9)
    for _ in range(4):
        observations, *_ = envs.step(np.array([0, 1]))
    clip = saved(rec)
    for index in range(2):
        steps = list(tl.envs.steps(clip, prefix=f"/env/{index}"))
        assert len(steps) == 5 and all(step.action == index for step in steps[:-1])
        np.testing.assert_array_equal(steps[-1].observation, observations[index])
