"""Exchanging two paths in one step of the file system, where the system can."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

#: renameat2(2) of Linux: paths are relative to the current folder; both must exist.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2

#: renamex_np(2) of macOS.
_RENAME_SWAP = 2

#: What kernels and file systems answer that cannot exchange (NFS, FAT, older Linux).
_CANNOT = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}


def exchange(first: Path, second: Path) -> bool:
    """Exchange two files or folders, so that each path always names one of the two.

    Args:
        first: exists.
        second: exists, in the same file system.

    Returns:
        False where the system or the file system cannot; nothing is changed then.

    Raises:
        OSError: another reason, such as a missing path.
    """
    call = _system_call()
    if call is None:
        return False
    if call(os.fsencode(first), os.fsencode(second)) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(first), None, str(second))


@cache
def _system_call() -> Any:
    """Return a function of two paths, which gives 0 for success; None if there is none."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            swap = library.renamex_np
            swap.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint]
            return lambda first, second: swap(first, second, _RENAME_SWAP)
        rename = library.renameat2
    except (OSError, TypeError, AttributeError):
        return None  # Windows, or a C library without the call.
    number, path = ctypes.c_int, ctypes.c_char_p
    rename.argtypes = [number, path, number, path, ctypes.c_uint]
    return lambda first, second: rename(_AT_FDCWD, first, _AT_FDCWD, second, _RENAME_EXCHANGE)
