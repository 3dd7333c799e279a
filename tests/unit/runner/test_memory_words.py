"""Which lines say that memory ran out: those that libraries really print, and those that only look like it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.runner.memory_words import LONGEST_LINE, find

GPU_LINES = [
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.69 GiB",
    "torch.cuda.OutOfMemoryError: HIP out of memory. Tried to allocate 20.00 MiB",
    "RuntimeError: CUDA out of memory. Tried to allocate 512.00 MiB (GPU 0; 7.79 GiB total capacity)",
    "RuntimeError: MPS backend out of memory (MPS allocated: 18.10 GB)",
    "RuntimeError: CUDA error: out of memory",
    "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "RuntimeError: HIP error: HIPBLAS_STATUS_ALLOC_FAILED when calling `hipblasCreate(handle)`",
    "rocblas error: rocblas_status_memory_error",
    "errors_impl.ResourceExhaustedError: OOM when allocating tensor with shape[512] on /job:localhost/device:GPU:0",
    "XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes",
    "jax.errors.JaxRuntimeError: RESOURCE_EXHAUSTED: Failed to allocate request for 2.0GiB (2147483648B) on device",
    "cupy.cuda.memory.OutOfMemoryError: Out of memory allocating 8,589,934,592 bytes",
    "terminate called after throwing: thrust::system_error std::bad_alloc: cudaErrorMemoryAllocation: out of memory",
    "numba.cuda.cudadrv.driver.CudaAPIError: [2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY",
    "ncclUnhandledCudaError: Call to CUDA function failed. Last error: Cuda failure 2 'out of memory'",
]
RAM_LINES = [
    "MemoryError",
    "MemoryError: Unable to allocate 7.45 GiB",
    "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 74.5 GiB for an array with shape (100000, 100000)",
    "numpy.core._exceptions.MemoryError: Unable to allocate 74.5 GiB",
    "OSError: [Errno 12] Cannot allocate memory",
    "/bin/sh: 1: Cannot allocate memory",
    "terminate called after throwing an instance of 'std::bad_alloc'",
    "RuntimeError: [enforce fail at alloc_cpu.cpp:75] err == 0. DefaultCPUAllocator: can't allocate memory: you tried",
    "OOM when allocating tensor with shape[9] and type float on /job:localhost/device:CPU:0 by allocator cpu",
    "Exception in thread main java.lang.OutOfMemoryError: Java heap space",
    "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
    "fatal error: runtime: out of memory",
    "memory allocation of 8589934592 bytes failed",
    "Error: cannot allocate vector of size 7.5 Gb",
    "slurmstepd: error: Detected 1 oom_kill event in StepId=1.0",
]
OTHERS = [
    "",
    "FileNotFoundError: data.csv",
    "MyMemoryErrorHandler installed",
    "W bfc_allocator.cc:314] Allocator (GPU_0_bfc) ran out of memory. The caller indicates that this is not a failure",
    "triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 131072, Hardware limit: 101376",
    "ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient shared memory (shm).",
    "GPU memory: 3 of 24 GiB",
    "Killed",
]


@pytest.mark.parametrize("line", GPU_LINES)
def test_lines_of_a_full_gpu(line: str) -> None:
    assert find(f"step 1\n{line}\n".encode()) == ("gpu", line)


@pytest.mark.parametrize("line", RAM_LINES)
def test_lines_of_full_ram(line: str) -> None:
    assert find(f"step 1\n{line}\n".encode()) == ("ram", line)


@pytest.mark.parametrize("line", OTHERS)
def test_lines_that_say_something_else(line: str) -> None:
    assert find(f"step 1\n{line}\n".encode()) is None


def test_the_last_word_counts_and_is_shown_as_a_terminal_would() -> None:
    tail = b"MemoryError\r\n 10%|#  \r 20%|## \r\x1b[31mRuntimeError: CUDA out of memory.\x1b[0m\r\nbye\r\n"
    assert find(tail) == ("gpu", "RuntimeError: CUDA out of memory.")


def test_a_long_line_is_cut() -> None:
    found = find(b"CUDA out of memory. " + b"x" * 10_000)
    assert found is not None
    assert len(found[1]) == LONGEST_LINE


def test_words_of_the_user_are_known_too() -> None:
    tail = b"solver: workspace exhausted (code 77)\n"
    assert find(tail) is None
    assert find(tail, ["workspace exhausted"], "ram") == ("ram", "solver: workspace exhausted (code 77)")
    assert find(tail, ["("]) is None, "one that cannot be read matches nothing"


@given(st.binary(max_size=3000))
def test_any_bytes_are_read(tail: bytes) -> None:
    found = find(tail)
    assert found is None or found[0] in ("gpu", "ram")


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\x1b[1m", b"MemoryError", b" ", b"\xff"]), max_size=30))
def test_what_is_found_is_one_clean_line(parts: list[bytes]) -> None:
    found = find(b"".join(parts))
    assert found is None or (found[1].isprintable() and "MemoryError" in found[1])
