"""Giving memory back to the system between the steps of an export."""

from __future__ import annotations

import ctypes
import gc
import sys


def release_memory() -> None:
    """Frees what only reference cycles hold, and hands free pages to the system where it can.

    The exporter's traces are full of cycles, with all the weights in them; glibc keeps freed
    blocks of less than 32 MB. A model of 1024² would need a gigabyte more without this.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl has not
        if trim is not None:
            trim(0)
