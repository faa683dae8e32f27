"""Opening and closing recorders: where they record, what they refuse."""

from __future__ import annotations

import gc
import io
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import tapeloop as tl


def python(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in a folder, without an agent and with a home of its own."""
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder), "TMPDIR": str(folder)}
    variables["TAPELOOP_DATA"] = str(folder / "default-tape")
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=variables | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_says_which_it_is(tmp_path: Path) -> None:
    with tl.recorder("rover-7", data=tmp_path / "tape") as rec:
        assert rec.description == f"embedded tape in {tmp_path / 'tape'}"
        assert repr(rec) == f"<tapeloop.Recorder: {rec.description}>"
        assert rec.path == tmp_path / "tape" and not rec.closed
        assert rec.status()["device"] == "rover-7"
    assert rec.closed and repr(rec).endswith(", closed>")


def test_without_an_agent_it_says_where_it_records_once(tmp_path: Path) -> None:
    code = (
        "import tapeloop as tl; tl.recorder('r').close(); rec = tl.recorder('r'); print(rec.description); rec.close()"
    )
    ran = python(code, tmp_path)
    assert ran.returncode == 0, ran.stderr
    folder = ran.stdout.strip().removeprefix("embedded tape in ")
    assert ran.stderr == f"tapeloop: no agent answered, recording to {folder}\n"
    assert Path(folder).is_dir() and tmp_path in Path(folder).parents


@pytest.mark.parametrize(
    ("keep", "limit"),
    [
        ("10 min", ("age_limit_ns", 600 * 10**9)),
        (90, ("age_limit_ns", 90 * 10**9)),
        ("2 GB", ("size_limit_bytes", 2 * 10**9)),
    ],
)
def test_keep_says_how_much_one_buffer_holds(tmp_path: Path, keep: Any, limit: tuple[str, int]) -> None:
    with tl.recorder(data=tmp_path, keep=keep) as rec:
        buffer = rec.status()["buffers"][0]
        assert buffer["place"] == "disk" and buffer[limit[0]] == limit[1]


CONFIG = """
device = "rover-9"
[[buffer]]
name = "short"
ram = "30 s"
"""


@pytest.mark.parametrize("form", ["text", "path", "str path", "dict"])
def test_a_configuration_is_text_a_path_or_a_dict(tmp_path: Path, form: str) -> None:
    (tmp_path / "my.toml").write_text(CONFIG)
    config: Any = {
        "text": CONFIG,
        "path": tmp_path / "my.toml",
        "str path": str(tmp_path / "my.toml"),
        "dict": {"device": "rover-9", "buffer": [{"name": "short", "ram": "30 s"}]},
    }[form]
    with tl.recorder(data=tmp_path / "tape", config=config) as rec:
        status = rec.status()
        assert status["device"] == "rover-9" and status["buffers"][0]["name"] == "short"
        assert status["buffers"][0]["place"] == "ram"
    with tl.recorder("other", data=tmp_path / "other", config=config) as rec:
        assert rec.status()["device"] == "other"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keep": "soon"}, "not a duration: 'soon'"),
        ({"keep": 0}, "keep= of nothing"),
        ({"keep": "1 h", "config": ""}, "say either keep= or config="),
        ({"socket": "/nowhere"}, "say one of them"),
        ({"config": "bufer = 1"}, "config= line 1.*bufer"),
        ({"config": "\n\n[[buffer]]\nname = 'a'\n"}, "config= line 4"),
        ({"config": {"buffer": [{"name": "a", "disk": "1 parsec"}]}}, "parsec"),
        ({"config": 5}, "config= is a path, TOML text or a dict"),
        ({"device": "my rover"}, "not a name for a device: 'my rover'"),
    ],
    ids=repr,
)
def test_wrong_arguments_are_refused(tmp_path: Path, arguments: Any, message: str) -> None:
    with pytest.raises(tl.InvalidError, match=message):
        tl.recorder(**{"data": tmp_path, **arguments})


def test_a_configuration_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(tl.NotFoundError, match=r"missing\.toml"):
        tl.recorder(data=tmp_path, config="missing.toml")


def test_an_agent_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises((tl.UnavailableError, tl.NotFoundError), match=r"agent\.sock"):
        tl.recorder(socket=tmp_path / "agent.sock")
    with pytest.raises(tl.InvalidError, match="an agent has its own configuration"):
        tl.recorder(socket=tmp_path / "agent.sock", keep="1 h")


def test_two_recorders_in_one_folder_conflict(tmp_path: Path) -> None:
    with tl.recorder(data=tmp_path), pytest.raises(tl.ConflictError, match=str(tmp_path)):
        tl.recorder(data=tmp_path)
    with tl.recorder(data=tmp_path) as rec:
        rec.log("/t", {"x": 1})


def test_a_closed_recorder_refuses_everything(tmp_path: Path) -> None:
    rec = tl.recorder(data=tmp_path)
    handle = rec.topic("/t")
    handle.log({"x": 1})
    rec.close()
    rec.close()
    for call in (
        lambda: rec.log("/t", {"x": 1}),
        lambda: handle.log({"x": 1}),
        lambda: rec.save(before=1),
        lambda: rec.keep("x"),
        rec.flush,
        rec.status,
        rec.recordings,
    ):
        with pytest.raises(tl.UnavailableError, match="closed"):
            call()


def test_a_recorder_that_is_forgotten_is_closed(tmp_path: Path) -> None:
    rec = tl.recorder(data=tmp_path)
    rec.log("/t", {"x": 1})
    del rec
    gc.collect()
    with tl.recorder(data=tmp_path):
        assert len(tl.open(tmp_path)["/t"]) == 1


def test_threads_log_at_the_same_time(rec: tl.Recorder) -> None:
    def work(number: int) -> None:
        for index in range(2000):
            rec.log(f"/thread/{number}", {"index": index})
            rec.log("/shared", {"number": number, "index": index})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clip = rec.save(before="1 h")
    assert [len(clip[f"/thread/{number}"]) for number in range(4)] == [2000] * 4
    for number in range(4):
        own = [message.value["index"] for message in clip["/shared"] if message.value["number"] == number]
        assert own == list(range(2000))


def test_the_end_of_the_process_closes_what_is_open(tmp_path: Path) -> None:
    code = """
import tapeloop as tl
rec = tl.recorder("r", data="tape")
rec.log("/t", {"x": 1})
near = rec.save(before=1, after=0.5)
print(near.id)
"""
    ran = python(code, tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    tape = tl.open(tmp_path / "tape")
    assert len(tape["/t"]) == 1
    manifest = tmp_path / "tape" / "devices" / "r" / f"{ran.stdout.strip()}.json"
    assert '"complete"' in manifest.read_text()


def test_the_end_of_the_process_cuts_short_what_takes_too_long(tmp_path: Path) -> None:
    code = """
import tapeloop as tl
rec = tl.recorder("r", data="tape")
print(rec.save(before=1, after=3600).id)
"""
    ran = python(code, tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    manifest = tmp_path / "tape" / "devices" / "r" / f"{ran.stdout.strip()}.json"
    assert '"cut_short"' in manifest.read_text()


def test_a_window_outlives_its_recorder(tmp_path: Path) -> None:
    code = """
import gc, tapeloop as tl
def work():
    rec = tl.recorder("r", data="tape")
    print(rec.save(before=1, after=0.5).id)
work()
gc.collect()
"""
    ran = python(code, tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    manifest = tmp_path / "tape" / "devices" / "r" / f"{ran.stdout.strip()}.json"
    assert '"complete"' in manifest.read_text()


def test_ctrl_c_ends_the_wait_for_a_window(tmp_path: Path) -> None:
    code = """
import os, signal, threading, tapeloop as tl
rec = tl.recorder("r", data="tape")
clip = rec.save(before=1, after=3600)
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    rec.close()
except KeyboardInterrupt:
    print(clip.state)
"""
    ran = python(code, tmp_path)
    assert (ran.returncode, ran.stdout) == (0, "cut_short\n")
    assert ran.stderr.startswith("tapeloop: waiting for a recording that ends at 20") and ran.stderr.count("\n") == 1


def test_a_child_of_a_fork_is_told_to_open_its_own(tmp_path: Path) -> None:
    code = """
import os, sys, warnings, tapeloop as tl
warnings.simplefilter("ignore")
rec = tl.recorder("r", data="tape")
handle = rec.topic("/t")
rec.log("/t", {"who": "parent"})
tl.init("g", data="global")
tl.log("/t", {"who": "parent"})
child = os.fork()
if child == 0:
    for call in (lambda: rec.log("/t", {}), lambda: handle.log({}), rec.flush):
        try:
            call()
            os._exit(1)
        except tl.ConflictError as error:
            assert "before a fork" in str(error), error
    assert rec.closed
    rec.close()
    own = tl.recorder("r", data="child")
    own.log("/t", {"who": "child"})
    own.close()
    tl.init("g", data="child-global")
    tl.log("/t", {"who": "child"})
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
rec.log("/t", {"who": "parent"})
tl.log("/t", {"who": "parent"})
"""
    ran = python(code, tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    who = {
        name: [message.value["who"] for message in tl.open(tmp_path / name)["/t"]]
        for name in ("tape", "child", "global", "child-global")
    }
    assert who == {"tape": ["parent"] * 2, "child": ["child"], "global": ["parent"] * 2, "child-global": ["child"]}


def test_a_spawned_worker_opens_its_own(tmp_path: Path) -> None:
    code = """
import subprocess, sys, tapeloop as tl
rec = tl.recorder("r", data="tape")
subprocess.run([sys.executable, "-c", "pass"], check=True)
rec.log("/t", {"x": 1})
"""
    ran = python(code, tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_write_error_reaches_the_caller(tmp_path: Path) -> None:
    assert issubclass(tl.InvalidError, ValueError) and issubclass(tl.InvalidError, tl.Error)
    classes = [
        tl.NotFoundError,
        tl.ConflictError,
        tl.DeniedError,
        tl.UnavailableError,
        tl.CorruptError,
        tl.InternalError,
    ]
    assert all(kind.__bases__ == (tl.Error,) for kind in classes)
    (tmp_path / "file").touch()
    with pytest.raises(tl.Error, match="file"):
        tl.recorder(data=tmp_path / "file")


def test_importing_it_imports_neither_numpy_nor_pillow(tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (2, 2)).save(picture, "JPEG")
    code = (
        f"""
picture = {picture.getvalue()!r}
"""
        + """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("numpy", "PIL", "typing_extensions"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocker())
import logging, tapeloop as tl
with tl.recorder("r", data="tape") as rec:
    rec.log("/t", {"x": 1, "y": [1.5, "a"], "raw": b"x"})
    rec.log("/bytes", memoryview(b"abc"))
    rec.log("/image", tl.CompressedImage(picture))
    logging.getLogger().addHandler(tl.LoggingHandler(rec))
    logging.error("hello")
    clip = rec.save(before="1 h")
    assert [message.value["x"] for message in clip["/t"]] == [1]
    try:
        next(iter(clip["/image"])).value
    except tl.InvalidError as error:
        assert "pip install numpy" in str(error)
    else:
        raise AssertionError
assert not {"numpy", "PIL"} & set(sys.modules)
"""
    )
    ran = python(code, tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
