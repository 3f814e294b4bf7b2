"""Returning freed memory to the system while large arrays are allocated and freed."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Iterator

#: Parameter of glibc's mallopt: blocks of this size and more get a mapping of their own, which is
#: unmapped when they are freed.
_M_MMAP_THRESHOLD = -3
_FRUGAL_BYTES, _USUAL_BYTES = 1 << 20, 32 << 20


def release_memory() -> None:
    """Free objects in reference cycles, and return free pages to the system (glibc).

    The exporter's traces hold all the weights in reference cycles, and glibc keeps freed blocks of
    less than 32 MB. A model of 1024² would need a gigabyte more without this.
    """
    gc.collect()
    trim = _libc_function("malloc_trim")
    if trim is not None:
        trim(0)


@contextlib.contextmanager
def frugal_memory() -> Iterator[None]:
    """Within the context, freed arrays of 1 MiB and more return to the system at once (glibc).

    glibc otherwise raises the limit to 32 MiB as such blocks are freed, and its heap becomes
    fragmented. The limit is 32 MiB afterwards, as in any process that has freed such a block.
    """
    mallopt = _libc_function("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _FRUGAL_BYTES)
    try:
        yield
    finally:
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _USUAL_BYTES)


def _libc_function(name: str) -> ctypes._NamedFuncPointer | None:
    """Return a function of the C library; None where it has none (musl, other systems)."""
    if sys.platform != "linux":
        return None
    found: ctypes._NamedFuncPointer | None = getattr(ctypes.CDLL(None), name, None)
    return found
