"""Reading arrays from .npy and .npz files of unknown origin: nothing is unpickled.

Sizes are checked before anything is allocated, and a header that states more than the file holds
is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segan.runtime.errors import DataError
from segan.runtime.files.zips import DamagedZipError, open_zip

#: Largest file, and largest array once unpacked, in bytes.
MAX_BYTES = 1 << 30

#: An .npz may unpack to so many bytes, or to twice its size: latents hardly compress.
_UNPACKED = 32 << 20
#: The methods of numpy.savez and savez_compressed; bzip2 and LZMA may ask for gigabytes.
_STORED, _DEFLATED = 0, 8
#: Most arrays in one file.
_MAX_ARRAYS = 4096


def read_arrays(path: Path, *, convert: bool = True) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of an .npz by name, or the array of an .npy under the name ``""``.

    Args:
        path: the file.
        convert: return numbers as float64, text unchanged; else all arrays as views of what was
            read, in the file's types.

    Raises:
        DataError: missing, too large, damaged, or it holds Python objects.
    """
    decode = decode_npy if convert else npy_values

    def bad(problem: str, remedy: str = "", expected: str = "") -> DataError:
        problem = f"{path} {problem}"
        return DataError(problem, field="path", value=path, expected=expected, remedy=remedy)

    try:
        size = path.stat().st_size
        if not path.is_file() or size > MAX_BYTES:
            raise bad("is not usable", expected=f"a file of at most {MAX_BYTES} bytes")
        with open(path, "rb") as stream:
            head = stream.read(6)
            data = head + stream.read() if head == b"\x93NUMPY" else b""
    except FileNotFoundError:
        raise bad("does not exist", "Give an .npz, .npy or .pt file.") from None
    except OSError as error:
        raise bad(f"cannot be read: {error.strerror}") from None
    if data:
        return {"": decode(data, str(path))}
    if not head.startswith(b"PK"):
        raise bad("is neither .npz nor .npy", "Save it with numpy.savez.")
    found: dict[str, NDArray[np.generic]] = {}
    left = most = min(MAX_BYTES, max(_UNPACKED, 2 * size))
    try:
        with open_zip(path) as archive:
            entries = [e for e in archive.infolist() if e.filename.endswith(".npy")]
            if len(entries) > _MAX_ARRAYS:
                raise bad(f"holds {len(entries)} arrays", expected=f"at most {_MAX_ARRAYS}")
            for entry in entries:
                if entry.compress_type not in (_STORED, _DEFLATED):
                    raise bad("is compressed in another way than numpy's", "Save it again.")
                with archive.open(entry) as file:
                    # The size in the zip's header may be false.
                    part = file.read(left + 1)
                left -= len(part)
                if left < 0:
                    raise bad(f"unpacks to more than {most} bytes")
                name = entry.filename.removesuffix(".npy")
                if name in found:
                    raise bad(f"holds {name[:60]!r} twice", "Save it again.")
                found[name] = decode(part, f"{path}: {name}")
    except DamagedZipError as error:
        raise bad(f"is truncated or damaged ({error})", "Save it again.") from None
    if not found:
        raise bad("contains no arrays", "Save it with numpy.savez.")
    return found


def decode_npy(data: bytes, where: str) -> NDArray[np.generic]:
    """Return an .npy's array, numbers as float64; see ``npy_values``."""
    values = npy_values(data, where)
    return values if values.dtype.kind == "U" else values.astype(np.float64)


def npy_values(data: bytes, where: str) -> NDArray[np.generic]:
    """Return an .npy's array as a view of its bytes, without trusting or evaluating its header.

    Args:
        data: the bytes of the .npy.
        where: the file in error messages.

    Raises:
        DataError: damaged, or it holds Python objects or anything but numbers and text.
    """

    def bad(problem: str, remedy: str = "", expected: str = "") -> DataError:
        problem = f"{where} {problem}"
        return DataError(problem, field="path", value=where, expected=expected, remedy=remedy)

    head = memoryview(data)[:12]
    # A version has two bytes; the length of its header has two or four.
    width = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4}.get(bytes(head[:8]))
    if width is None or len(head) < 12:
        raise bad("is truncated, damaged or not an .npy of version 1 or 2", "Save it again.")
    start = 8 + width
    size = int.from_bytes(head[8:start], "little")
    if size > min(_MAX_HEADER, len(data) - start):
        raise bad("is truncated or damaged (its header is too long)", "Save it again.")
    descr, fortran, shape = _parse_header(data[start : start + size].decode("latin-1"), bad)
    if descr.lstrip("|<>=")[:1] == "O":
        raise bad(
            "holds Python objects, which can run code when they are read; segan does not read them",
            "Save plain arrays.",
        )
    found = re.fullmatch(r"[|<>=]?([fiubU])(\d{1,4})", descr)
    try:
        dtype = np.dtype(descr if found else "V")
    except (TypeError, ValueError):
        dtype = np.dtype("V")
    if dtype.kind == "V" or dtype.itemsize == 0:
        raise bad(f"holds {descr[:40]!r}", expected="numbers")
    start += size
    if math.prod(shape) * dtype.itemsize != len(data) - start:
        raise bad(f"is truncated: it states {list(shape)} {dtype}", "Save it again.")
    return np.frombuffer(data, dtype, offset=start).reshape(shape, order="F" if fortran else "C")


#: Longest header of an .npy, in bytes: numpy writes 118, and pads to 64.
_MAX_HEADER = 4096
#: Most axes of an array in numpy 1.
_MAX_AXES = 32

#: The three entries of a header, as numpy and others write them; Python 2 wrote 5L.
_ENTRY = re.compile(
    r"""\s*['"](?P<key>descr|fortran_order|shape)['"]\s*:\s*"""
    r"""(?P<value>'[^'"\\]{1,40}'|"[^'"\\]{1,40}"|True|False|\((?:\s*\d{1,18}L?\s*(?:,\s*\d{1,18}L?\s*)*,?)?\s*\)|\[)\s*,?"""
)


def _parse_header(text: str, bad: Callable[..., DataError]) -> tuple[str, bool, tuple[int, ...]]:
    """Return descr, fortran_order and shape of an .npy's header, without evaluating it."""
    found: dict[str, str] = {}
    body = text.strip()
    inner, at = body[1:-1], 0
    if body[:1] != "{" or body[-1:] != "}":
        raise bad("is damaged (its header is not a dictionary)", "Save it again.")
    while at < len(inner.rstrip()):
        entry = _ENTRY.match(inner, at)
        if entry is None or entry["key"] in found:
            raise bad("is damaged (its header is not numpy's)", "Save it again.")
        if entry["value"] == "[":
            raise bad("holds a table of columns", expected="numbers")
        found[entry["key"]] = entry["value"]
        at = entry.end()
    descr, fortran, shape = (found.get(key, "") for key in ("descr", "fortran_order", "shape"))
    sizes = tuple(int(size) for size in re.findall(r"\d+", shape))
    if descr[:1] not in ("'", '"') or fortran not in ("True", "False") or shape[:1] != "(":
        raise bad("is damaged (its header is not numpy's)", "Save it again.")
    if len(sizes) > _MAX_AXES:
        raise bad(f"has {len(sizes)} axes", expected=f"at most {_MAX_AXES}")
    return descr[1:-1], fortran == "True", sizes
