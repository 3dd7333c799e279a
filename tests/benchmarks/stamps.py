"""The job of the benchmarks: sleeps, and writes down when it began and ended (CLOCK_MONOTONIC, one append).

Compiled if there is a C compiler: then it costs no more than `true`. Else a shell script with `date`, which adds about
two milliseconds to each job of every contender alike.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

PROGRAM = r"""
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
int main(int argc, char **argv) {   /* stamp FILE MICROSECONDS */
    int64_t span[2] = {now(), 0};
    int fd = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0600);
    long us = argc > 2 ? atol(argv[2]) : 0;
    if (us > 0) {
        struct timespec t = {us / 1000000, us % 1000000 * 1000};
        nanosleep(&t, NULL);
    }
    span[1] = now();
    return write(fd, span, sizeof span) == sizeof span ? 0 : 1;
}
"""
SCRIPT = """#!/bin/sh
begin=$(date +%s%N)
[ "${2:-0}" = 0 ] || sleep "$(printf '%d.%06d' $(($2 / 1000000)) $(($2 % 1000000)))"
echo "$begin $(date +%s%N)" >> "$1"
"""


class Stamp:
    """The job's program, made in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "stamp")
        compiler = shutil.which("gcc") or shutil.which("cc")
        self.compiled = compiler is not None
        if compiler is None:
            Path(self.path).write_text(SCRIPT)
            os.chmod(self.path, 0o755)
        else:
            Path(f"{self.path}.c").write_text(PROGRAM)
            subprocess.run([compiler, "-O1", "-o", self.path, f"{self.path}.c"], check=True)

    def now(self) -> float:
        """Seconds, on the clock of the stamps."""
        return time.monotonic() if self.compiled else time.time()

    def argv(self, file: Path, seconds: float = 0.0) -> list[str]:
        """The command of one job."""
        return [self.path, str(file), str(round(seconds * 1e6))]

    def read(self, file: Path) -> list[tuple[float, float]]:
        """(begin, end) of each job that ended, by its begin."""
        if not file.exists():
            return []
        data = file.read_bytes()
        if self.compiled:
            spans = [(begin / 1e9, end / 1e9) for begin, end in struct.iter_unpack("=qq", data[: len(data) // 16 * 16])]
        else:
            lines = [line.split() for line in data.decode().splitlines()]
            spans = [(int(begin) / 1e9, int(end) / 1e9) for begin, end in lines]
        return sorted(spans)

    def wait_for(self, file: Path, count: int, timeout_s: float = 120.0) -> list[tuple[float, float]]:
        """Wait until `count` jobs have ended; looks at nothing but the size of the file meanwhile."""
        deadline = time.monotonic() + timeout_s
        size = 16 * count if self.compiled else 40 * count
        while not file.exists() or file.stat().st_size < size:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self.read(file))} of {count} jobs ended within {timeout_s:g} s")
            time.sleep(0.005)
        return self.read(file)
