"""Reading arrays from .npy and .npz files of unknown origin: nothing is unpickled.

Sizes are checked before anything is allocated, and a header that states more than the file holds
is refused.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segan.runtime.errors import DataError

#: Largest file, and largest array once unpacked, in bytes.
MAX_BYTES = 1 << 30

#: Most arrays in one file.
_MAX_ARRAYS = 4096


def read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of an .npz by name, or the array of an .npy under the name ``""``.

    Numbers are returned as float64, text unchanged.

    Raises:
        DataError: missing, too large, damaged, or it holds Python objects.
    """

    def bad(problem: str, remedy: str = "", expected: str = "") -> DataError:
        problem = f"{path} {problem}"
        return DataError(problem, field="path", value=path, expected=expected, remedy=remedy)

    try:
        size = path.stat().st_size
        if not path.is_file() or size > MAX_BYTES:
            raise bad("is not usable", expected=f"a file of at most {MAX_BYTES} bytes")
        data = path.read_bytes()
    except FileNotFoundError:
        raise bad("does not exist", "Give an .npz, .npy or .pt file.") from None
    except OSError as error:
        raise bad(f"cannot be read: {error.strerror}") from None
    if data.startswith(b"\x93NUMPY"):
        return {"": decode_npy(data, str(path))}
    if not data.startswith(b"PK"):
        raise bad("is neither .npz nor .npy", "Save it with numpy.savez.")
    found: dict[str, NDArray[np.generic]] = {}
    left = MAX_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [e for e in archive.infolist() if e.filename.endswith(".npy")]
            if len(entries) > _MAX_ARRAYS:
                raise bad(f"holds {len(entries)} arrays", expected=f"at most {_MAX_ARRAYS}")
            for entry in entries:
                with archive.open(entry) as file:
                    # The size in the zip's header may be false.
                    part = file.read(left + 1)
                left -= len(part)
                if left < 0:
                    raise bad(f"unpacks to more than {MAX_BYTES} bytes")
                name = entry.filename.removesuffix(".npy")
                found[name] = decode_npy(part, f"{path}: {name}")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise bad(f"is truncated or damaged ({error})", "Save it again.") from None
    if not found:
        raise bad("contains no arrays", "Save it with numpy.savez.")
    return found


def decode_npy(data: bytes, where: str) -> NDArray[np.generic]:
    """Return an .npy's array, without trusting its header.

    Args:
        data: the bytes of the .npy.
        where: the file in error messages.

    Raises:
        DataError: damaged, or it holds Python objects or anything but numbers and text.
    """

    def bad(problem: str, remedy: str = "", expected: str = "") -> DataError:
        problem = f"{where} {problem}"
        return DataError(problem, field="path", value=where, expected=expected, remedy=remedy)

    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError(f"version {version}")
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise bad(f"is truncated or damaged ({error})", "Save it again.") from None
    if dtype.hasobject:
        raise bad(
            "holds Python objects, which can run code when they are read; segan does not read them",
            "Save plain arrays.",
        )
    if dtype.kind not in "fiubU" or dtype.itemsize == 0:
        raise bad(f"holds {dtype}", expected="numbers")
    left = len(data) - file.tell()
    if any(side < 0 for side in shape) or math.prod(shape) * dtype.itemsize != left:
        raise bad(f"is truncated: it states {list(shape)} {dtype}", "Save it again.")
    values = np.frombuffer(data, dtype, offset=file.tell())
    values = values.reshape(shape, order="F" if fortran else "C")
    return values if dtype.kind == "U" else values.astype(np.float64)
