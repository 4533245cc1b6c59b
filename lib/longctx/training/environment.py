"""One place that makes the process deterministic, and that tunes its allocator."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

#: Options of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


@contextmanager
def deterministic(threads: int) -> Iterator[None]:
    """Run with ``threads`` threads and deterministic kernels, and restore both afterwards.

    The thread count belongs to the result: sums are split differently over 1 and 2 threads and differ in
    their last bits.
    """
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


def keep_freed_memory() -> bool:
    """Ask glibc not to return freed pages to the kernel; True if it agreed.

    A training step allocates and frees the same large tensors again and again. By default each is mapped
    anew, and the kernel clears its pages every time. Elsewhere than on glibc this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
