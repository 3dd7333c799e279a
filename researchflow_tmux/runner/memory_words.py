"""Which lines of a job's output say that memory ran out, and which memory it was. Pure but for `re`, imported late.

The words are those of the libraries themselves. A line counts only for a job that failed (see `oom`).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

GPU = "gpu"
RAM = "ram"
LONGEST_LINE = 300
_MOST_OF_A_LINE = 4000

_NOT_A_FAILURE = r"not a failure|performance gains"  # TensorFlow's allocator, which then finds another way
_ON_THE_GPU = "|".join(
    (
        r"(?:CUDA|HIP|XPU|MPS backend|GPU) out of memory",  # PyTorch
        r"torch(?:\.cuda)?\.OutOfMemoryError",
        r"(?:CUDA|HIP|CUDNN|ROCM)[ _]error\b.{0,40}\bout of memory",
        r"Cuda failure.{0,40}out of memory",  # NCCL
        r"CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation|hipErrorOutOfMemory",
        r"\w*(?:CUBLAS|CUDNN|CUSOLVER|CUSPARSE|CUFFT|HIPBLAS)_(?:STATUS_)?ALLOC_FAILED",
        r"rocblas_status_memory_error",
        r"OOM when allocating tensor.*device:GPU",  # TensorFlow
        r"Allocator \(GPU_\w+\) ran out of memory",
        r"RESOURCE_EXHAUSTED: (?:Out of memory|Failed to allocate|.*\bHBM\b)",  # XLA, JAX
        r"cupy\.cuda\.memory\.OutOfMemoryError",
    )
)
_IN_RAM = "|".join(
    (
        r"(?:^|[\s.])_?(?:Array)?MemoryError(?::|$)",  # Python, NumPy
        r"OOM when allocating tensor",
        r"DefaultCPUAllocator: (?:can't allocate|not enough) memory",
        r"Cannot allocate memory",  # ENOMEM
        r"std::bad_alloc",
        r"java\.lang\.OutOfMemoryError",
        r"JavaScript heap out of memory",
        r"runtime: out of memory",  # Go
        r"memory allocation of \d+ bytes failed",  # Rust
        r"cannot allocate vector of size",  # R
        r"oom[-_]kill event|Out of memory: Killed process",  # Slurm, the kernel
    )
)
_ESCAPE = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)"


class Word(tuple[str, str]):
    """(where, line): the line that says it, and whether "gpu" or "ram" ran out."""

    __slots__ = ()


def find(tail: bytes, own_patterns: Iterable[str] = (), own_where: str = GPU) -> Word | None:
    """Return the last line of `tail` that says so, None if none does.

    `own_patterns` are regular expressions of the user, for programs with words of their own; what they match is missing
    in `own_where`. One that cannot be read matches nothing.
    """
    import re

    gpu, ram, harmless = re.compile(_ON_THE_GPU), re.compile(_IN_RAM), re.compile(_NOT_A_FAILURE)
    own = _compiled(own_patterns)
    for raw in reversed(tail.decode(errors="replace").split("\n")):
        line = readable(raw)
        if harmless.search(line):
            continue
        if any(pattern.search(line) for pattern in own):
            return Word((own_where, shortened(line)))
        if gpu.search(line):
            return Word((GPU, shortened(line)))
        if ram.search(line):
            return Word((RAM, shortened(line)))
    return None


def readable(raw: str) -> str:
    """Return what a terminal would show of a line: after the last carriage return, without colours."""
    import re

    shown = raw.rstrip("\r").rpartition("\r")[2][:_MOST_OF_A_LINE]
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "", re.sub(_ESCAPE, "", shown)).strip()


def shortened(line: str) -> str:
    """Return the line, cut to what a table or a record can hold."""
    return line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 1] + "…"


def _compiled(patterns: Iterable[str]) -> list[re.Pattern[str]]:  # type: ignore[name-defined] # noqa: F821
    import re

    found = []
    for pattern in patterns:
        try:
            found.append(re.compile(pattern))
        except re.error:
            continue
    return found
