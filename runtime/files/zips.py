"""Opening zips of unknown origin: every fault of one is one kind of error, in bounded memory."""

from __future__ import annotations

import contextlib
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from segan.runtime.errors import SeganError

if TYPE_CHECKING:
    from zipfile import ZipFile

#: Largest directory of a zip that holds few files, in bytes. Python needs ten times as much for it.
SMALL_DIRECTORY = 4 << 20

#: Longest reason that is quoted, in characters.
_MAX_REASON = 200


class DamagedZipError(ValueError):
    """A zip that cannot be read; the message says why."""


@contextlib.contextmanager
def open_zip(
    source: str | os.PathLike[str] | bytes, *, directory: int = SMALL_DIRECTORY
) -> Iterator[ZipFile]:
    """Open a zip to read from; whatever zipfile raises in the block becomes ``DamagedZipError``.

    Args:
        source: the file's path, or its bytes.
        directory: the largest directory that is read, in bytes.

    Raises:
        DamagedZipError: it cannot be opened, is no zip, damaged, needs features that Python has
            not, or lists too many files.
    """
    import struct
    import zipfile  # 10 ms that folders do not need

    try:
        raw = io.BytesIO(source) if isinstance(source, bytes) else io.FileIO(Path(source))
        with _BoundedReader(raw, directory) as file, zipfile.ZipFile(file) as archive:
            file.most = None
            yield archive
    except SeganError:
        raise
    except MemoryError as error:
        raise DamagedZipError("it states more than fits into memory") from error
    except (
        *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError),
        *(ValueError, LookupError, ArithmeticError, RuntimeError),
    ) as error:
        # zipfile quotes names as they are stored, which may be most of the file.
        raise DamagedZipError(str(error)[:_MAX_REASON] or type(error).__name__) from error


class _BoundedReader(io.BufferedReader):
    """Refuses to read more at once than ``most`` bytes, unless that is None.

    zipfile reads the whole directory at once, in the size that the zip states.
    """

    def __init__(self, raw: io.FileIO | io.BytesIO, most: int) -> None:
        super().__init__(raw)
        self.most: int | None = most

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to ``size`` bytes."""
        if self.most is None:
            return super().read(size)
        asked = self.most + 1 if size is None or size < 0 else size
        if asked <= self.most + 1:
            data = super().read(asked)
            if len(data) <= self.most:
                return data
        raise ValueError(f"its directory is larger than {self.most} bytes")
