"""What checkpoints cost on this machine: `python tests/benchmarks/bench_checkpoints.py [DIRECTORY] [--full]`.

The training is a loop of steps on one core that change 200 MB of parameters; its first pass saves nothing. What one
save costs is the time that as many steps then take longer, with the save written meanwhile, and at least that of the
call. A minute is not waited for: the share is of 60 s. `--full` trains for a real minute in both passes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

import numpy as np

from researchflow_tmux.job import Checkpointer
from researchflow_tmux.job.local_store import LocalStore

MB = 10**6
RESUME = """
import sys, time
begin = time.monotonic()
from researchflow_tmux import current_job
checkpoint = current_job().checkpoint
ready = time.monotonic()
assert checkpoint.load_latest().step == 1
print(ready - begin, time.monotonic() - ready)
"""


def parameters(size: int) -> dict[str, np.ndarray]:
    return {f"layer{number}": np.random.default_rng(number).random(size // 80) for number in range(10)}


def save_and_restore(directory: str, state: dict[str, np.ndarray], wait: bool) -> tuple[float, float, float]:
    """Seconds that a save holds up its caller, those until it is durable, and those of loading, every byte checked."""
    checkpoint = Checkpointer(LocalStore(os.path.join(directory, "large")))
    checkpoint.keep(1)
    begin = time.perf_counter()
    saving = checkpoint.save(state, 1, wait=wait)
    held_s = time.perf_counter() - begin
    saving.wait()
    saved_s = time.perf_counter() - begin
    begin = time.perf_counter()
    restored = checkpoint.load_latest()
    loaded_s = time.perf_counter() - begin
    assert restored is not None
    assert all(np.array_equal(restored.state[name], array) for name, array in state.items())
    return held_s, saved_s, loaded_s


def step(state: dict[str, np.ndarray]) -> None:
    """Some 20 ms of one core."""
    for array in state.values():
        np.multiply(array[:500_000], 0.999, out=array[:500_000])
        np.sin(array[:150_000])


def train(state: dict[str, np.ndarray], steps: int, checkpoint: Checkpointer | None) -> tuple[float, float]:
    """Seconds of a training that saves once, in its middle, if it saves; and those that the save held it up."""
    held_s = 0.0
    begin = time.perf_counter()
    for number in range(steps):
        step(state)
        if checkpoint and number == steps // 4:
            before = time.perf_counter()
            checkpoint.save(state, number)
            held_s = time.perf_counter() - before
    return time.perf_counter() - begin, held_s


def overhead(directory: str, seconds: float) -> tuple[float, float, float, int]:
    state = parameters(200 * MB)
    train(state, 20, None)
    one_s = train(state, 50, None)[0] / 50
    steps = int(seconds / one_s)
    checkpoint = Checkpointer(LocalStore(os.path.join(directory, "training")))
    rounds = []
    for _ in range(1 if seconds >= 60 else 3):
        plain_s = train(state, steps, None)[0]
        saving_s, held_s = train(state, steps, checkpoint)
        checkpoint.wait()
        rounds.append((saving_s - plain_s, held_s))
    rounds.sort()
    return (*rounds[len(rounds) // 2], one_s, steps)


def resume(directory: str) -> tuple[float, float]:
    """Seconds from the start of a new process to its first step, and those of loading alone (200 MB)."""
    place = os.path.join(directory, "resumed")
    Checkpointer(LocalStore(place)).save(parameters(200 * MB), 1, wait=True)
    environ = os.environ | {"RFSCHED_CHECKPOINT_DIR": place, "RFSCHED_ATTEMPT": "bench/1.2", "RFSCHED_JOB": "bench"}
    begin = time.perf_counter()
    answer = subprocess.run([sys.executable, "-c", RESUME], env=environ, capture_output=True, text=True, check=True)
    return time.perf_counter() - begin, float(answer.stdout.split()[1])


def main() -> None:
    full = "--full" in sys.argv
    places = [argument for argument in sys.argv[1:] if argument != "--full"]
    with tempfile.TemporaryDirectory(dir=places[0] if places else None) as directory:
        print(f"{directory}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        state = parameters(1000 * MB)
        print("1 GB                       call of save   until durable   restore   save + restore (target 10 s)")
        for kind, wait in (("first", False), ("second", False), ("with wait=True", True)):
            held_s, saved_s, loaded_s = save_and_restore(directory, state, wait)
            print(f"  {kind:24} {held_s:10.2f} s {saved_s:13.2f} s {loaded_s:7.2f} s {saved_s + loaded_s:14.2f} s")
        del state
        whole_s, loading_s = resume(directory)
        print(f"200 MB: resume cycle, loading apart         {whole_s - loading_s:8.2f} s   (target 2)")
        extra_s, held_s, one_s, steps = overhead(directory, 60 if full else 8)
        print(f"200 MB: call of save                        {held_s:8.2f} s")
        work = f"{steps} steps of {one_s * 1000:.0f} ms"
        print(f"200 MB a minute: time lost                  {max(extra_s, held_s) / 60:8.1%}     (target 5 %; {work})")


if __name__ == "__main__":
    main()
