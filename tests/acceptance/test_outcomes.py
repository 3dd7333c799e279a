"""How jobs end and what becomes of them, by the installed command: memory, verification, stopping at a failure."""

from __future__ import annotations

import sys

import pytest

from tests.support import eventually
from tests.unit.hooks.web import serving
from tests.workspaces import Factory, new_workspace

__all__ = ["new_workspace"]

pytestmark = pytest.mark.tmux

CHECKS = """
def done(config, output_dir, log_file):
    return config.endswith("checked.yml") and "loss 0.1" in open(log_file).read()
"""


def test_out_of_memory_then_a_larger_gpu_then_a_verification_then_a_failure_that_stops(new_workspace: Factory) -> None:
    ws = new_workspace(
        gpu_count="simulated:12GiB,24GiB", max_jobs_per_gpu=1, retry_delay=0.1, on_failure="STOP_EXECUTION"
    )
    (ws.root / "checks.py").write_text(CHECKS)
    needs_the_large_one = '[ "$CUDA_VISIBLE_DEVICES" = 1 ] || { echo "RuntimeError: CUDA out of memory."; exit 1; }'
    ws.config("big", ws.script("big.sh", needs_the_large_one))
    ws.config("checked", ws.script("checked.sh", "echo loss 0.1; exit 1"), success="VERIFY_ONLY", verify="checks:done")
    ws.ok("start")
    assert ws.ok("wait") == "2 jobs ended, 2 succeeded\n"

    big = ws.job("big")
    assert (big["attempt"], big["gpus"], big["ooms"], big["gpu_memory_mib"]) == (2, [1], 1, 18 * 1024)
    assert "out of memory: GPU: RuntimeError: CUDA out of memory." in ws.ok("why", "big")
    history = ws.ok("history", "big")
    assert "RuntimeError: CUDA out of memory.; it gets 18 GiB next" in history
    assert ws.reason("checked") == "succeeded: verified, exit code 1"
    assert "── verifying: checks:done ──" in ws.ok("logs", "checked")

    ws.ok("add", "--name", "long", "--", ws.script("long.sh", "while [ ! -e go ]; do sleep 0.05; done"))
    ws.ok("add", "--name", "bad", "--", "false")
    eventually(lambda: ws.states()["bad"] == "failed")
    ws.ok("add", "--name", "later", "--", "true")
    assert "stopped after a failure: bad (failed: exit code 1); `rfsched start` goes on" in ws.ok("status")
    assert ws.job("later")["reason_code"] == "after_failure"
    assert ws.states()["long"] == "running"
    ws.ok("stop")
    ws.ok("add", "--name", "last", "--", "true")  # also to the next scheduler it is told
    (ws.root / "go").touch()
    ws.ok("start")
    assert ws.call("wait").returncode == 1, "bad has failed"
    assert ws.states() == {
        "big": "succeeded",
        "checked": "succeeded",
        "long": "succeeded",
        "bad": "failed",
        "later": "succeeded",
        "last": "succeeded",
    }


def test_hooks_are_told_by_the_scheduler_and_not_again_after_a_restart(new_workspace: Factory) -> None:
    with serving() as web:
        web.answers = [503, 0]
        ws = new_workspace(
            hooks={
                "failure": {"url": f"{web.url}/${{TOKEN}}", "headers": {"Authorization": "Bearer ${TOKEN}"}},
                "success": 'echo "$RFSCHED_HOOK_JOB" >> told',
                "queue_empty": "echo empty >> told",
            },
        )
        told = ws.root / "told"
        ws.ok("add", "--hold", "--name", "good", "--", "true", TOKEN="s3cret-token")
        ws.ok("add", "--hold", "--name", "bad", "--", "false", TOKEN="s3cret-token")
        ws.ok("start", TOKEN="s3cret-token")
        ws.ok("release", "good", "bad")
        ws.call("wait")
        eventually(lambda: len(web.got) == 3, 20.0)
        eventually(lambda: sorted(told.read_text().split()) == ["empty", "good"])
        assert [body["job"]["name"] for body in web.got] == ["bad"] * 3
        assert web.headers[-1]["authorization"] == "Bearer s3cret-token"
        eventually(lambda: "works again" in (ws.root / "logs/t_scheduler.log").read_text())
        ws.ok("stop")
        ws.ok("start", TOKEN="s3cret-token")
        ws.ok("add", "--name", "good2", "--", "true")
        ws.ok("wait", "good2")
        eventually(lambda: sorted(told.read_text().split()[2:]) == ["empty", "good2"])
        assert len(web.got) == 3
        log = (ws.root / "logs/t_scheduler.log").read_text()
        assert log.count("hook for failure") == 2, "that it fails, and that it works again"
        assert "s3cret" not in log + ws.ok("history") + ws.ok("hooks", "list")

        assert "ok" in ws.ok("hooks", "test", "success")
        web.answers = [404]
        tried = ws.call("hooks", "test", "failure", TOKEN="s3cret-token")
        assert (tried.returncode, tried.stdout) == (1, f"{web.url}/…: the answer was 404 Not Found\n")
        assert "there is no hook for oom" in ws.call("hooks", "test", "oom").stderr


def test_cores_and_memory_of_the_machine(new_workspace: Factory) -> None:
    ws = new_workspace()
    greedy = "import time; data = bytearray(200 << 20); data[:] = b'x' * len(data); time.sleep(300)"
    ws.ok("add", "--gpus", "0", "--name", "greedy", "--memory", "100MiB", "--", sys.executable, "-c", greedy)
    script = 'echo "cores $(nproc) threads $OMP_NUM_THREADS"'
    ws.ok("add", "--gpus", "0", "--name", "one", "--cpus", "1", "--", "sh", "-c", script)
    ws.ok("add", "--gpus", "0", "--name", "many", "--cpus", "4096", "--hold", "--", "true")
    assert ws.call("wait", "greedy", "one").returncode == 1
    assert "cores 1 threads 1" in ws.ok("logs", "one")
    assert ws.reason("greedy").startswith("out of memory: RAM: it used ")
    assert ws.reason("greedy").endswith("its limit is 100 MiB")
    assert ws.job("greedy")["attempt"] == 1, "the same limit would stop it again"
    assert "memory limit 100 MiB: " in ws.ok("why", "greedy")
    assert "memory of jobs" in ws.call("doctor").stdout
    ws.ok("release", "many")
    assert "cannot run here: it needs 4096 cores" in eventually(lambda: ws.reason("many"))
