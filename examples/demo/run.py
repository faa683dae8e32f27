"""The tour: records a simulated rover, keeps two spans of its past, and says what they hold and what they miss.

Usage: run.py FOLDER, where FOLDER holds the programs `tapeloop` and `rover`. The data is left in ./demo-data.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

DATA = Path("demo-data")
CONFIG = Path(__file__).with_name("tapeloop.toml")
DRIVE_SECONDS = 35
START_LIMIT_SECONDS = 10
COMPLETE_LIMIT_SECONDS = 25
STOP_LIMIT_SECONDS = 5
TOPICS = {
    "/camera/front",
    "/diagnostics",
    "/gps/fix",
    "/imu",
    "/joint_states",
    "/log",
    "/map",
    "/odom",
    "/robot_description",
    "/scan",
    "/tf",
    "/tf_static",
}
# What is kept: (in a few words, the rover's words for it, before, after).
INCIDENTS = [
    ("hard brake", "hard brake", "15s", "6s"),
    ("missed stop sign", "stop sign passed", "10s", "10s"),
]


class DemoFailedError(Exception):
    """Something did not come out as it must."""


def main() -> int:
    """Runs the tour and returns the exit code."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    programs = Path(sys.argv[1])
    shutil.rmtree(DATA, ignore_errors=True)
    # A socket's path must be short, and that of a clone may be long.
    with tempfile.TemporaryDirectory(prefix="tapeloop-demo-") as folder:
        environment = {**os.environ, "TAPELOOP_SOCKET": f"{folder}/agent.sock", "TAPELOOP_DATA": str(DATA)}
        try:
            tour(Tapeloop(programs, environment))
        except (DemoFailedError, subprocess.SubprocessError) as error:
            print(f"\nthe demo failed: {error}", file=sys.stderr)
            return 1
    return 0


def tour(tapeloop: Tapeloop) -> None:
    """Records, keeps, waits and explains."""
    say("1. The agent starts; the rover drives for 35 s and logs into it.")
    with tapeloop.agent() as agent:
        moments = tapeloop.drive()

        say("2. Afterwards, two spans of the past are kept. They overlap: what both want is on the disk once.")
        recordings = [tapeloop.keep(words, moments[said], before, after) for words, said, before, after in INCIDENTS]
        print(tapeloop.run("status"))

        say("3. They are complete when the segments they name are closed, which happens by itself.")
        manifests = [tapeloop.complete(recording) for recording in recordings]
        agent.stop()

    say("4. What was kept, and what is missing and why.")
    for manifest in manifests:
        check_recording(tapeloop, manifest)
        print(tapeloop.run("info", str(path_of(manifest["recording"]))))
    print(sharing(manifests))

    say("5. The first one as a file of its own, for any MCAP reader.")
    first = path_of(manifests[0]["recording"])
    exported = DATA / "hard-brake.mcap"
    print(tapeloop.run("export", str(first), "-o", str(exported)))
    check_export(tapeloop, first, exported)
    say("Look further:")
    print(f"""  export PATH="{tapeloop.folder.resolve()}:$PATH"
  tapeloop info {exported}
  tapeloop cat {first} --topic /log
  tapeloop export {first} --topics /imu '/tf*' -o imu.mcap
  tapeloop ls {DATA}
  tapeloop doctor {DATA}""")


class Tapeloop:
    """The programs, and where their agent is."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        """Remembers where the programs are."""
        self.folder = folder
        self.environment = environment

    def run(self, *arguments: str) -> str:
        """Runs a command and returns what it printed."""
        command = [str(self.folder / "tapeloop"), *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise DemoFailedError(
                f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}"
            )
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Runs a command with --json and returns the object it printed."""
        return json.loads(self.run(*arguments, "--json"))

    def agent(self) -> Agent:
        """Starts the agent and returns it once it answers."""
        DATA.mkdir()
        log = DATA / "agent.log"
        with log.open("w") as output:
            command = [str(self.folder / "tapeloop"), "record", str(CONFIG)]
            process = subprocess.Popen(command, env=self.environment, stdout=output, stderr=subprocess.STDOUT)
        agent = Agent(process, log)
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while True:
            try:
                self.json("status")
                return agent
            except DemoFailedError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    agent.kill()
                    raise DemoFailedError(f"the agent did not start: {log.read_text().strip() or error}") from error
                time.sleep(0.05)

    def drive(self) -> dict[str, str]:
        """Lets the rover drive and returns when each incident was, by the words that the rover has for it."""
        socket = self.environment["TAPELOOP_SOCKET"]
        command = [str(self.folder / "rover"), "--duration", f"{DRIVE_SECONDS}s", "--socket", socket]
        moments = {}
        with subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True) as rover:
            assert rover.stdout is not None
            for line in rover.stdout:
                print(f"   {line}", end="", flush=True)
                moments.update({said: line.split()[0] for _, said, *_ in INCIDENTS if said in line})
        if rover.returncode != 0 or len(moments) != len(INCIDENTS):
            raise DemoFailedError(
                f"the rover ended with {rover.returncode} after {len(moments)} of {len(INCIDENTS)} incidents"
            )
        return moments

    def keep(self, why: str, at: str, before: str, after: str) -> str:
        """Keeps a span of the past and returns the recording's id."""
        command = ["save", "--before", before, "--after", after, "--at", at, "--why", why]
        print(f"   tapeloop {' '.join(command[:-1])} '{why}'")
        answer = self.json(*command)
        print(f"     -> {answer['recording']}, {answer['state']}, {len(answer['segments'])} segments")
        return answer["recording"]

    def complete(self, recording: str) -> dict[str, Any]:
        """Waits until a recording is complete and returns its manifest."""
        deadline = time.monotonic() + COMPLETE_LIMIT_SECONDS
        while True:
            manifest = json.loads(path_of(recording).read_text())
            if manifest["state"] == "complete":
                print(f"   {recording}: complete")
                return manifest
            if time.monotonic() > deadline:
                raise DemoFailedError(f"{recording} is still {manifest['state']} after {COMPLETE_LIMIT_SECONDS} s")
            time.sleep(0.2)


class Agent:
    """A running agent, which does not outlive the demo."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """Takes charge of a process."""
        self.process = process
        self.log = log

    def __enter__(self) -> Agent:
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the agent if something went wrong before it was stopped."""
        self.kill()

    def stop(self) -> None:
        """Stops the agent as systemd does, and checks that it leaves in time and without complaint."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_LIMIT_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise DemoFailedError(f"the agent did not stop within {STOP_LIMIT_SECONDS} s") from error
        if code != 0:
            raise DemoFailedError(f"the agent ended with {code}: {self.log.read_text().strip()}")

    def kill(self) -> None:
        """Ends the agent if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def check_recording(tapeloop: Tapeloop, manifest: dict[str, Any]) -> None:
    """Checks that a recording holds every topic of the rover, and as many messages as were logged in its span."""
    info = tapeloop.json("info", str(path_of(manifest["recording"])))
    counts = {topic["topic"]: topic["messages"] for topic in info["topics"]}
    if absent := sorted(topic for topic in TOPICS if not counts.get(topic)):
        raise DemoFailedError(f"{manifest['recording']} has no {', '.join(absent)}")
    seconds = (info["end_ns"] - info["start_ns"]) / 1e9
    if not 0.98 < counts["/imu"] / (200 * seconds) < 1.02:
        raise DemoFailedError(f"{manifest['recording']} has {counts['/imu']} of /imu in {seconds:.1f} s")


def check_export(tapeloop: Tapeloop, recording: Path, exported: Path) -> None:
    """Checks that an export holds every message of its recording, and that its text logs can be read."""
    counts = [tapeloop.json("info", str(path))["messages"] for path in (recording, exported)]
    texts = tapeloop.run("cat", str(exported), "--topic", "/log", "--json")
    if counts[0] != counts[1] or "hard brake" not in texts:
        raise DemoFailedError(f"{exported} has {counts[1]} of {counts[0]} messages, or not the text of the hard brake")


def sharing(manifests: list[dict[str, Any]]) -> str:
    """Says what the overlap saved."""
    sizes = [{segment["key"]: segment["size_bytes"] for segment in manifest["segments"]} for manifest in manifests]
    both = sizes[0].keys() & sizes[1].keys()
    once = sum({**sizes[0], **sizes[1]}.values()) / 1e6
    twice = sum(sum(size.values()) for size in sizes) / 1e6
    return f"The two name {len(both)} segments in common: {once:.1f} MB on the disk instead of {twice:.1f} MB."


def path_of(recording: str) -> Path:
    """Returns a recording's manifest."""
    return DATA / "devices" / "rover-7" / f"{recording}.json"


def say(text: str) -> None:
    """Prints a headline."""
    print(f"\n{text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
