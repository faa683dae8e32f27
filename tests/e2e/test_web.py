"""Viewers that others wrote: Foxglove's client from npm, and a browser on the agent's page."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_live import PATIENCE_SECONDS, Agent

WEB = Path(__file__).parent / "web"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """Runs an agent that has seen two topics and a picture."""
    agent = Agent(tmp_path_factory.mktemp("w"))
    try:
        with agent.recorder() as recorder:
            recorder.log("/map", {"cells": [1, 2]}, latched=True, log_time=1_700_000_000_000_000_123)
            recorder.log("/camera/front", np.full((48, 64, 3), 128, np.uint8), latched=True)
            recorder.log("/imu", {"x": 1}, latched=True)
            recorder.flush()
            yield agent
        assert agent.stop() == 0, agent.complaints
    finally:
        agent.process.kill()


def run(script: str, *arguments: str) -> dict[str, Any]:
    """Runs a script of ours with node, and returns what it saw."""
    assert (WEB / "node_modules").is_dir(), f"run `npm ci` in {WEB}"
    done = subprocess.run(
        ["node", script, *arguments], cwd=WEB, capture_output=True, text=True, timeout=2 * PATIENCE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_foxgloves_own_client_sees_topics_and_saves(agent: Agent) -> None:
    seen = run("viewer.mjs", f"ws://{agent.about['foxglove']}/")
    assert "rover-7" in seen["server"]
    assert seen["messages"]["/map"] == {"logTime": "1700000000000000123", "text": '{"cells":[1,2]}'}
    assert seen["messages"]["/imu"]["text"] == '{"x":1}'
    assert seen["parameters"] == [{"name": "tapeloop.device", "value": "rover-7"}]
    assert seen["saved"]["callId"] == 7 and seen["saved"]["why"] == "seen in a viewer"
    (listed,) = json.loads(agent.run("ls", "--json"))
    assert listed["recording"] == seen["saved"]["recording"]


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
def test_the_pages_button_saves_the_past(agent: Agent, tmp_path: Path) -> None:
    told = run("page.mjs", str(BROWSER), f"http://{agent.about['http']}/", str(tmp_path / "page.png"))
    assert told["complaints"] == []
    assert told["device"].startswith("rover-7 on ")
    assert {"/imu", "/map", "/camera/front"} <= set(told["topics"])
    (listed,) = json.loads(agent.run("ls", "--json"))
    assert told["saved"] == f"saved as {listed['recording']}" and listed["why"] == "seen in a browser"
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
