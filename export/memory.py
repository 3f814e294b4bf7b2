"""Keeping the memory of a process small while large arrays come and go."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Iterator

#: glibc's mallopt: blocks from this size on are mapped each by itself, and unmapped when freed.
_M_MMAP_THRESHOLD = -3
_FRUGAL_BYTES, _USUAL_BYTES = 1 << 20, 32 << 20


def release_memory() -> None:
    """Frees what only reference cycles hold, and hands free pages to the system where it can.

    The exporter's traces are full of cycles, with all the weights in them; glibc keeps freed
    blocks of less than 32 MB. A model of 1024² would need a gigabyte more without this.
    """
    gc.collect()
    trim = _libc_function("malloc_trim")
    if trim is not None:
        trim(0)


@contextlib.contextmanager
def frugal_memory() -> Iterator[None]:
    """While it lasts, freed arrays of 1 MiB and more go back to the system at once.

    Otherwise glibc learns to keep freed blocks of up to 32 MiB, in a heap that tears into pieces.
    That is its state after this, as it is in any process that has freed such a block.
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
    """A function of the C library; glibc has what is asked for here, musl has not."""
    if sys.platform != "linux":
        return None
    found: ctypes._NamedFuncPointer | None = getattr(ctypes.CDLL(None), name, None)
    return found
