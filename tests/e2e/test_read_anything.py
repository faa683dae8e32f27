"""The README's "read anything" on every recording that others made."""

from __future__ import annotations

import json
import os
import re
import subprocess
import warnings
from pathlib import Path

import pytest
import tapeloop as tl

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("TAPELOOP_TEST_DATA", ROOT.parent / "shared" / "data"))
BIN = Path(os.environ.get("TAPELOOP_BIN_DIR", ROOT / "target" / "debug"))

# Where nothing can be read, and why.
NOT_A_RECORDING = {
    "lfs_pointer.mcap": "Git LFS",
    "empty.bag": "empty",
}

# What says that it is in an encoding that nobody has.
NOT_DECODED = {"wrong_rmw_test", "wrong_rmw_test_0.mcap"}


def recordings() -> list[Path]:
    endings = {".mcap", ".bag", ".db3", ".ulg", ".zstd"}
    files = [
        path for path in sorted(DATA.rglob("*")) if path.suffix in endings and "mcap-conformance" not in path.parts
    ]
    folders = [path.parent for path in sorted(DATA.rglob("metadata.yaml"))]
    datasets = [path.parents[1] for path in sorted(DATA.rglob("meta/info.json"))]
    return [*files, *folders, *datasets]


def example() -> str:
    """Returns the README's example, for a recording at `path`."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if "tl.open(clip.path)" in block]
    return block.replace("clip.path", "path")


pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"there are no recordings at {DATA}")


@pytest.mark.parametrize("path", recordings(), ids=lambda path: str(path.relative_to(DATA)))
def test_every_topic_of_every_recording_is_read_and_decoded(path: Path) -> None:
    if path.stat().st_size == 0 or path.name in NOT_A_RECORDING:
        with pytest.raises(tl.InvalidError, match=NOT_A_RECORDING.get(path.name, "empty")):
            tl.open(path)
        return
    recording = tl.open(path)
    told = subprocess.run([BIN / "tapeloop", "info", path, "--json"], capture_output=True, check=False)
    info = json.loads(told.stdout)
    assert told.returncode == (3 if info["losses"] else 0), told.stderr.decode()
    total = 0
    for name, topic in recording.topics.items():
        total += len(topic)
        first = next(iter(topic), None)
        if first is not None:
            assert first.topic == name
            if not info["losses"] and path.name not in NOT_DECODED:
                assert first.value is not None
    assert total == info["messages"] == sum(topic["messages"] for topic in info["topics"])


@pytest.mark.parametrize("path", recordings(), ids=lambda path: str(path.relative_to(DATA)))
def test_the_readme_reads_every_recording(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {"tl": tl, "path": path}
    if path.stat().st_size == 0 or path.name in NOT_A_RECORDING:
        with pytest.raises(tl.InvalidError, match=NOT_A_RECORDING.get(path.name, "empty")):
            exec(example(), names)
        return
    with warnings.catch_warnings():
        # What cannot be decoded is left out, and told.
        warnings.filterwarnings("ignore", message=".*could not be decoded", category=UserWarning)
        exec(example(), names)
    shown = capsys.readouterr().out
    for name, topic in tl.open(path).topics.items():
        assert f"{name}: {len(topic)} x " in shown
