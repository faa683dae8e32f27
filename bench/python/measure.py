"""Measures Tapeloop against its peers, interleaved in the same run, and prints one table of medians and ratios.

Needs cargo, Python 3.11 or newer, and a network the first time: it installs the peers into a cache folder.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import programs
from cases import CASES, Bench
from report import Row, machine, table

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Runs the chosen cases and returns the exit code: 1 if one of them failed, whatever its numbers are."""
    arguments = parse()
    if arguments.list:
        for name, case in CASES.items():
            print(f"{name:12} {(case.__doc__ or '').splitlines()[0]}")
        return 0
    data = arguments.data or ROOT / "bench" / "results" / "data"
    bench = Bench(programs=programs.prepare(ROOT, arguments.build), data=data, runs=arguments.runs)
    results = {"machine": machine(), "runs": arguments.runs, "cases": {}}
    rows: list[Row] = []
    failed = []
    for name in arguments.only or CASES:
        print(f"{name}: load {machine()['load']}", file=sys.stderr, flush=True)
        try:
            outcome = CASES[name](bench)
        except Exception as error:  # One case that cannot run must not cost the others' results.
            failed.append(name)
            print(f"{name} failed: {error}", file=sys.stderr)
            continue
        finally:
            bench.clean()
        rows += outcome.rows
        results["cases"][name] = {
            "load_after": machine()["load"],
            "raw": outcome.raw,
            "rows": [vars(row) for row in outcome.rows],
        }
        print(table(outcome.rows), file=sys.stderr, flush=True)
    print(table(rows))
    path = ROOT / "bench" / "results" / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1))
    print(f"\n{machine()}\nall runs: {path}")
    return 1 if failed else 0


def parse() -> argparse.Namespace:
    """Returns what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CASES), metavar="CASE", help="only these cases")
    parser.add_argument("--list", action="store_true", help="show the cases")
    parser.add_argument("--runs", type=int, default=5, help="runs of each, medians of which are compared (default: 5)")
    parser.add_argument("--data", type=Path, help="a folder on the disk to measure (default: bench/results/data)")
    parser.add_argument(
        "--no-build", dest="build", action="store_false", help="measure the release build that is there"
    )
    return parser.parse_args()
