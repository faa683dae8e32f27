"""Python's logging as a topic."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tapeloop as tl

Recorded = Callable[..., list[Any]]


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.Logger("robot.arm", logging.DEBUG)
    yield logger
    for handler in list(logger.handlers):
        logger.removeHandler(handler)


def test_records_are_foxglove_logs(rec: tl.Recorder, recorded: Recorded, logger: logging.Logger) -> None:
    logger.addHandler(tl.LoggingHandler(rec))
    before = time.time_ns()
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logger.log(level, "at %d%%", 50)
    messages = recorded(rec, "/log")
    assert [message.value["level"] for message in messages] == [1, 2, 3, 4, 5]
    value = messages[0].value
    assert (value["message"], value["name"], value["file"]) == ("at 50%", "robot.arm", __file__)
    assert isinstance(value["line"], int) and value["line"] > 0
    stamp = value["timestamp"]["sec"] * 10**9 + value["timestamp"]["nsec"]
    assert before - 10**6 <= stamp <= time.time_ns()
    assert messages[0].publish_time == stamp
    assert {message.schema_name for message in messages} == {"foxglove.Log"}
    assert set(messages[0].schema["properties"]) == {"timestamp", "level", "message", "name", "file", "line"}


def test_an_exception_is_in_the_text(rec: tl.Recorder, recorded: Recorded, logger: logging.Logger) -> None:
    logger.addHandler(tl.LoggingHandler(rec, "/text"))
    try:
        raise RuntimeError("the arm is stuck")
    except RuntimeError:
        logger.exception("moving")
    (message,) = recorded(rec, "/text")
    assert message.value["message"].startswith("moving\nTraceback")
    assert message.value["message"].endswith("RuntimeError: the arm is stuck")


def test_a_formatter_and_a_level_are_respected(rec: tl.Recorder, recorded: Recorded, logger: logging.Logger) -> None:
    handler = tl.LoggingHandler(rec, level=logging.WARNING)
    handler.setFormatter(logging.Formatter("<%(message)s>"))
    logger.addHandler(handler)
    logger.info("quiet")
    logger.warning("loud")
    assert [message.value["message"] for message in recorded(rec, "/log")] == ["<loud>"]


def test_it_never_raises_into_the_program(
    tmp_path: Path, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    rec = tl.recorder(data=tmp_path)
    handler = tl.LoggingHandler(rec)
    logger.addHandler(handler)
    logger.warning("wrong arguments: %d", "x")
    rec.close()
    logger.warning("after the end")
    assert handler.lost == 2
    err = capsys.readouterr().err
    assert err.count("tapeloop: a log record was not recorded") == 1


def test_a_record_that_is_logged_while_one_is_written_does_not_recurse(
    rec: tl.Recorder, recorded: Recorded, logger: logging.Logger
) -> None:
    handler = tl.LoggingHandler(rec)
    logger.addHandler(handler)

    class Chatty:
        def __str__(self) -> str:
            logger.warning("I am being formatted")
            return "chatty"

    logger.warning("%s", Chatty())
    assert [message.value["message"] for message in recorded(rec, "/log")] == ["chatty"]
    assert handler.lost == 0


def test_without_a_recorder_it_uses_the_global_one(tmp_path: Path, logger: logging.Logger) -> None:
    logger.addHandler(tl.LoggingHandler())
    for name in ("a", "b"):
        rec = tl.init(data=tmp_path / name)
        logger.warning(name)
        assert [json.loads(message.data)["message"] for message in rec.save(before="1 h")["/log"]] == [name]
        rec.close()
