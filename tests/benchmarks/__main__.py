"""The figures and their targets: `python -m tests.benchmarks [--only A,B…] [--repeats N] [--quick] [--json FILE]`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from tests.benchmarks import (
    bench_planner,
    bench_policy,
    exporting,
    job_files,
    predictions,
    python_api,
    sampling,
    steady,
    store,
    tables,
    throughput,
    watching,
)
from tests.benchmarks.measure import FOLDER, Measure, load, machine

GROUPS = "ABCDEFGHJPRTUWX"
PLANNER = "P,R,T"
"""What `--only planner` means."""


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--only", default=GROUPS, help="comma-separated groups, of A,B,C,D,E,F,G,H,J,P,R,T,U,W,X, or planner"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="fewer jobs, a third of the time")
    parser.add_argument("--traces", type=Path, metavar="DIR", help="real traces for R")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    wanted = frozenset((PLANNER if args.only == "planner" else args.only).upper().replace(",", ""))
    if wanted - set(GROUPS):
        parser.error(f"there is no benchmark {', '.join(sorted(wanted - set(GROUPS)))}")
    facts = {**machine(), "folder": FOLDER, "load at start": load()}
    lines: list[Measure] = []
    began = time.monotonic()
    for group, run in (("A", throughput.cost_of_a_job), ("B", throughput.busy_slots), ("C", throughput.gaps)):
        if group in wanted:
            lines += show(run(args.repeats, quick=args.quick))
    if wanted & {"D", "E"}:
        lines += show(steady.steady(args.repeats, quick=args.quick, parts=wanted))
    for group, module in (
        ("F", store),
        ("G", python_api),
        ("H", tables),
        ("J", job_files),
        ("P", bench_planner),
        ("T", predictions),
        ("U", sampling),
        ("W", watching),
        ("X", exporting),
    ):
        if group in wanted:
            lines += show(module.measures(quick=args.quick))
    if "R" in wanted:
        lines += show(bench_policy.measures(quick=args.quick, traces=args.traces))
    facts |= {"load at end": load(), "took": f"{time.monotonic() - began:.0f} s", "repeats": str(args.repeats)}
    print("\n" + "\n".join(f"{name:14} {value}" for name, value in facts.items()))
    if args.json is not None:
        report = {
            "machine": facts,
            "measures": [msgspec.to_builtins(line) | {"verdict": line.verdict} for line in lines],
        }
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)))


def show(lines: Iterable[Measure]) -> list[Measure]:
    """Print lines of the table, as they come."""
    shown = []
    for line in lines:
        shown.append(line)
        value = "—" if line.value is None else f"{line.value:.2f}"
        bound = "" if line.target is None else f"{'>=' if line.at_least else '<='} {line.target:g}"
        text = f"{line.bench}  {line.what:52} {value:>9} {line.unit:12} {bound:8} {line.verdict:6}  {line.note}"
        print(text.rstrip(), flush=True)
    return shown


if __name__ == "__main__":
    main()
