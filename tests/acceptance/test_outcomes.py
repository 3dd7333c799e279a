"""How jobs end and what becomes of them, by the installed command: memory, verification, stopping at a failure."""

from __future__ import annotations

import pytest

from tests.support import eventually
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
