"""The images of a folder and its sub-folders.

A link to a file or folder inside the source is followed; one that leads out is refused by name,
since what it holds was not given. Links below a linked folder are not followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from segan.runtime.errors import DataError
from segan.train.data.sources import (
    MAX_ENCODED_BYTES,
    ImageSource,
    too_large,
    unreadable,
)


class FolderSource(ImageSource):
    """The images of a folder and its sub-folders."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = path.resolve()
        self.refused = []
        self._others: list[tuple[str, str]] = []
        self._sort(list(self._walk(path, follow=True)), self._others)

    def _walk(self, top: Path, *, follow: bool) -> Iterator[str]:
        """Yield the paths of all files below a folder, from the source's own."""
        for folder, folders, files in os.walk(top, onerror=_refuse, followlinks=False):
            inside = Path(folder).relative_to(self.path)
            for name in sorted(folders):
                place = inside / name
                if name.startswith("."):
                    self._others.append(("hidden", f"{place.as_posix()}/"))
                elif (self.path / place).is_symlink():
                    yield from self._walk_link(place, follow)
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in files:
                file = inside / name
                # A broken link is found when it is read.
                if (self.path / file).is_file() or (self.path / file).is_symlink():
                    yield file.as_posix()
                else:
                    self._others.append(("pipe or device", file.as_posix()))

    def _walk_link(self, place: Path, follow: bool) -> Iterator[str]:
        """Yield the files of a linked folder that is inside the source and does not hold itself."""
        target = (self.path / place).resolve()
        if not target.is_relative_to(self._root):
            self.refused.append(place.as_posix())
        elif not follow or (self._root / place).is_relative_to(target):
            self._others.append(("linked folder", place.as_posix()))
        else:
            yield from self._walk(self.path / place, follow=False)

    def read(self, name: str) -> bytes:
        """Return the file's bytes. Raises: DataError."""
        file = self.path / name
        if not file.resolve().is_relative_to(self._root):
            raise DataError(
                f"{file} is a link that leads out of {self.path}, which is not followed",
                field="path",
                value=self.path,
                remedy="Copy the image there, or convert the folder that holds it.",
            )
        try:
            size = file.stat().st_size
            if size > MAX_ENCODED_BYTES:
                raise too_large(f"{file}", size)
            return file.read_bytes()
        except OSError as error:
            raise unreadable(file, error) from error

    def metadata(self) -> bytes | None:
        """Return the bytes of dataset.json, or None. Raises: DataError."""
        return None if self.metadata_name is None else self.read(self.metadata_name)


def _refuse(error: OSError) -> None:
    raise unreadable(error.filename, error) from error
