"""What runs inside the pane and owns one attempt: claim, leases, limits, stopping, reaping, exit record.

Stdlib only and nothing of the rest of the package: the runner must start in milliseconds, stay small beside the job
and keep working while the scheduler is dead. Each file format has one module here that both writes and reads it, so
the scheduler imports its readers: `spec`, `claim`, `record`, `stopping`, `tickets`, `reap`.
"""


def command(python: str, spec_path: str) -> list[str]:
    """Return the argv that runs the attempt of `spec_path`; `python` must be a real interpreter, no shim.

    The file, not the directory: for a directory Python imports `runpy` first, which costs 5 ms and 1 MB.
    """
    return [python, "-I", "-S", f"{__path__[0]}/__main__.py", spec_path]
