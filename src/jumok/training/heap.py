"""What an update frees stays with the process, for the next one to use.

glibc asks the system for each large piece of memory and gives it back when it is freed, so every
update would have its pages made, zeroed and taken away again (benchmarks/fast_roads.py measures
what that costs). Within `kept_heap` pieces of up to 32 MiB, which is as large as glibc lets them
be, come from the heap, and the heap does not shrink.

For the process as a whole the bound of 32 MiB stays, and what the environment said of malloc
(mallopt(3)) is not put back. Elsewhere (musl, macOS, Windows) nothing is changed.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_THRESHOLD of malloc.h."""
_NEVER = -1
_DURING = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: _NEVER, _TOP_PAD: 64 << 20}
_AFTER = {_TRIM_THRESHOLD: 64 << 20, _TOP_PAD: 128 << 10}
"""Where glibc ends by itself (mallopt(3)) once a piece of 32 MiB was freed."""


@contextmanager
def kept_heap() -> Iterator[None]:
    """For a while; then the system gets back what is free. It goes around whole functions, so that
    what they made is free by then."""
    libc = _glibc()
    if libc is None:
        yield
        return
    _set(libc, _DURING)
    try:
        yield
    finally:
        _set(libc, _AFTER)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None


def _set(libc: ctypes.CDLL, sizes: dict[int, int]) -> None:
    for which, size in sizes.items():
        libc.mallopt(which, size)
