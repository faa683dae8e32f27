"""The table of medians and ratios, and what the machine was like."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Row:
    """One line of the table."""

    case: str
    ours: str
    peer: str = ""
    ratio: str = ""
    aim: str = ""
    met: bool | None = None


@dataclass
class Outcome:
    """What a case measured: lines of the table, and every run."""

    rows: list[Row] = field(default_factory=list)
    raw: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def table(rows: Iterable[Row]) -> str:
    """Returns lines as a Markdown table."""
    head = ["case", "Tapeloop", "peer", "ratio", "aim", "met"]
    lines = [
        [row.case, row.ours, row.peer, row.ratio, row.aim, {True: "yes", False: "NO", None: ""}[row.met]]
        for row in rows
    ]
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    shown = [head, ["-" * width for width in widths], *lines]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in shown
    )


def median(runs: list[dict[str, Any]], value: str | Callable[[dict[str, Any]], float]) -> float:
    """Returns the median of something over all runs."""
    pick = value if callable(value) else lambda run: run[value]
    return statistics.median(pick(run) for run in runs)


def interleave(runs: int, variants: dict[str, Callable[[], dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Runs every variant once, then every variant again, and so on: what disturbs the machine disturbs all of them."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
    for _ in range(runs):
        for name, variant in variants.items():
            results[name].append(variant())
    return results


def machine() -> dict[str, Any]:
    """Returns what the machine is, and how busy."""
    with open("/proc/meminfo") as file:
        memory_gb = int(file.readline().split()[1]) / 1e6
    return {
        "cpus": os.cpu_count(),
        "memory_gb": round(memory_gb, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }
