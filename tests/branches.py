"""Whether the tests take the branches of what decides: `python -m tests.branches [PATH…]`, about three minutes.

Runs the unit tests of domain, policies and engine, those of the simulator, and the scenarios, under branch coverage.
Ends with 1 if any of the three packages is below LEAST_PCT, or a test fails.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile

import coverage
import pytest

PACKAGES = ("domain", "policies", "engine")
TESTS = (*(f"tests/unit/{name}" for name in (*PACKAGES, "simulation", "testing")), "tests/scenario")
LEAST_PCT = 95.0


def main() -> int:
    """Run, and print what is missing where anything is."""
    parser = argparse.ArgumentParser(prog="python -m tests.branches", description=__doc__)
    parser.add_argument("paths", nargs="*", default=list(TESTS), help="other tests than those")
    paths = parser.parse_args().paths
    sources = [f"researchflow_tmux.{name}" for name in PACKAGES]
    with tempfile.TemporaryDirectory(prefix="rfcov-") as folder:
        measured = coverage.Coverage(data_file=os.path.join(folder, "data"), branch=True, source=sources)
        measured.start()
        failed = pytest.main(["-q", "--no-header", "-p", "no:cacheprovider", *paths])
        measured.stop()
        measured.save()
        measured.report(skip_covered=True, show_missing=True, sort="cover")
        found = {name: _percent(measured, name) for name in PACKAGES}
    print("\n" + "\n".join(f"{name:10} {percent:5.1f} % (at least {LEAST_PCT:g})" for name, percent in found.items()))
    return int(failed != pytest.ExitCode.OK or min(found.values()) < LEAST_PCT)


def _percent(measured: coverage.Coverage, package: str) -> float:
    return measured.report(include=f"researchflow_tmux/{package}/*", file=io.StringIO())


if __name__ == "__main__":
    sys.exit(main())
