"""The Python of the README, the guide and the docstrings runs as it stands there."""

from __future__ import annotations

import ast
import doctest
import re
from pathlib import Path

import pytest

import tapeloop as tl

from .test_recorder import python

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "python" / "tapeloop" / "README.md", ROOT / "docs" / "guide" / "python.md"]


def blocks() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        if page.is_file():
            text = page.read_text()
            # Blocks of a page build on each other, so that each runs behind those before it.
            parts = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
            found += [
                (f"{page.relative_to(ROOT)}:{number + 1}", "\n".join(parts[: number + 1]))
                for number in range(len(parts))
            ]
    return found


@pytest.mark.parametrize(("name", "code"), blocks(), ids=lambda value: value if "\n" not in value else "")
def test_a_block_of_a_page_runs(name: str, code: str, tmp_path: Path) -> None:
    ran = python(code, tmp_path)
    assert ran.returncode == 0, f"{name}\n{ran.stdout}{ran.stderr}"


@pytest.mark.parametrize("name", ["_native.pyi", "_logging.py"])
def test_the_examples_of_docstrings_run(
    rec: tl.Recorder, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "examples").mkdir()
    monkeypatch.chdir(tmp_path / "examples")
    tree = ast.parse((Path(tl.__file__).parent / name).read_text())
    runner = doctest.DocTestRunner()
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names = {**vars(tl), "rec": rec}
            runner.run(doctest.DocTestParser().get_doctest(ast.get_docstring(node) or "", names, node.name, name, 0))
    assert runner.tries > 0 and runner.failures == 0
