"""The servers that are measured from outside: the agent and ReductStore."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

START_LIMIT_SECONDS = 20
STOP_LIMIT_SECONDS = 20
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Server:
    """A program that runs while it is measured."""

    process: subprocess.Popen[bytes]

    def cpu_seconds(self) -> float:
        """Returns the CPU time it has taken so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def answers(self) -> bool:
        """Returns whether it takes connections."""
        raise NotImplementedError

    def wait_until_it_answers(self) -> None:
        """Waits until it takes connections."""
        end = time.monotonic() + START_LIMIT_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{self.process.args} does not start")
            time.sleep(0.02)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Agent(Server):
    """The agent, with one disk buffer."""

    def __init__(self, program: Path, data: Path, compression: str) -> None:
        # A socket's path must be short, and that of a clone may be long.
        self.folder = tempfile.TemporaryDirectory(prefix="tapeloop-bench-")
        self.socket = Path(self.folder.name) / "agent.sock"
        config = Path(self.folder.name) / "tapeloop.toml"
        config.write_text(f"[[buffer]]\nname = 'all'\ndisk = {{ size = '4 GB' }}\ncompression = '{compression}'\n")
        command = [program, config, "--data", data, "--socket", self.socket, "--http", "off"]
        self.process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
        self.wait_until_it_answers()

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.socket)) == 0


class ReductStore(Server):
    """ReductStore with its default settings."""

    def __init__(self, program: Path, data: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        settings = {
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "DATA_PATH": str(data),
            "DISABLE_AUTH": "true",
            "LOG_LEVEL": "WARN",
        }
        environment = {**os.environ, **{f"RS_{name}": value for name, value in settings.items()}}
        self.process = subprocess.Popen([str(program)], env=environment, stdout=subprocess.DEVNULL)
        self.wait_until_it_answers()

    def answers(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0
