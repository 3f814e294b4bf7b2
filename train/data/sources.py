"""Sources of encoded images behind one interface: folders, zips and LMDB environments.

Nothing is unpacked to the disk, and links are not followed out of a folder. Names are paths with
``/``. What is not read is counted, by its kind.
"""

from __future__ import annotations

import abc
import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from segan.runtime.errors import DataError

#: Endings of image files, of the formats in segan.runtime.pictures.decode.
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif", ".hif"}
)

#: Larger encoded images are refused: real images stay far below.
MAX_ENCODED_BYTES = 512 << 20

#: Name of the file that holds the labels.
METADATA_NAME = "dataset.json"

#: Names that are kept of each kind of files that are passed over.
_KEPT_NAMES = 10


def natural_key(name: str) -> tuple[tuple[int, int, str, str], ...]:
    """Sort key in which digits count as numbers, so that ``img2`` comes before ``img10``."""
    parts = re.split(r"([0-9]+)", name)
    # Numbers of any length: the longer one, without its zeros, is the larger.
    return tuple(
        (0, len(part.lstrip("0")), part.lstrip("0"), part)
        if part[0] in "0123456789"
        # Other text sorts after digits.
        else (1, 0, part, "")
        for part in parts
        if part
    )


@dataclasses.dataclass
class PassedOver:
    """Files of one kind that are not read.

    Attributes:
        kind: in a list, such as ``.mov``, ``hidden`` or ``linked folder``.
        count: how many.
        names: the first ten of them.
    """

    kind: str
    count: int = 0
    names: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.names[:3]) else ""
        return f"{self.count} {self.kind} ({', '.join(self.names[:3])}{more})"


def passed_over_kind(name: str) -> str | None:
    """Why a file of this path inside a source is not read as an image; None if it is."""
    path = PurePosixPath(name)
    if "__MACOSX" in path.parts:
        return "__MACOSX"
    if any(part.startswith(".") for part in path.parts):
        return "hidden"
    if path.is_absolute():
        return "with a path from the root"
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return None
    return path.suffix.lower() if 1 < len(path.suffix) <= 12 else "without a known ending"


class ImageSource(abc.ABC):
    """A set of encoded images with names.

    Attributes:
        path: of the folder, zip or LMDB.
        names: of the images, in natural order.
        passed_over: what else is there and is not read.
        refused: folders that are not read, since they are links that lead out.
        metadata_name: path of dataset.json inside the source; None without one.
    """

    path: Path
    names: list[str]
    passed_over: list[PassedOver]
    refused: list[str]
    metadata_name: str | None = None

    @abc.abstractmethod
    def read(self, name: str) -> bytes:
        """Return the encoded image. Raises: DataError."""

    def metadata(self) -> bytes | None:
        """Return the content of dataset.json; None without one. Raises: DataError."""
        return None

    def close(self) -> None:
        """Close the files."""
        return None

    @property
    def metadata_folder(self) -> str:
        """The folder, with ``/``, that the names in dataset.json are relative to."""
        return (self.metadata_name or METADATA_NAME)[: -len(METADATA_NAME)]

    def _sort(self, files: Iterable[str], others: Iterable[tuple[str, str]] = ()) -> None:
        """Set ``names``, ``passed_over`` and ``metadata_name``.

        Args:
            files: paths of all regular files.
            others: (kind, name) of what is passed over for other reasons.
        """
        kinds: dict[str, PassedOver] = {}
        names, labels = [], []

        def pass_over(kind: str, name: str) -> None:
            group = kinds.setdefault(kind, PassedOver(kind))
            group.count += 1
            if len(group.names) < _KEPT_NAMES:
                group.names.append(name)

        for name in files:
            kind = passed_over_kind(name)
            if kind is None:
                names.append(name)
            elif kind != "hidden" and PurePosixPath(name).name == METADATA_NAME:
                labels.append(name)
            else:
                pass_over(kind, name)
        for kind, name in others:
            pass_over(kind, name)
        self.names = sorted(names, key=natural_key)
        self.metadata_name = _choose_metadata(labels, names)
        for name in labels:
            if name != self.metadata_name:
                pass_over("dataset.json in a sub-folder", name)
        self.passed_over = sorted(kinds.values(), key=lambda group: (-group.count, group.kind))


def _choose_metadata(found: Sequence[str], names: Sequence[str]) -> str | None:
    """The dataset.json at the top, or that of the one folder which holds all images."""
    if METADATA_NAME in found:
        return METADATA_NAME
    if len(found) == 1:
        folder = found[0][: -len(METADATA_NAME)]
        if all(name.startswith(folder) for name in names):
            return found[0]
    return None


def linked_out(source: ImageSource) -> DataError:
    """The error for linked folders that lead out of a source: they may hold a whole class."""
    return DataError(
        f"{source.refused[0]} in {source.path} is a link to a folder outside of it, which is not "
        "followed",
        field="path",
        value=source.path,
        remedy="Copy that folder there, or give a folder that holds both.",
    )


def unreadable(path: Path | str, error: OSError) -> DataError:
    """The error for a file of a source that cannot be read."""
    problem = f"cannot read {path}: {error.strerror or error}"
    return DataError(problem, field="path", value=path)


def too_large(where: str, size: int, most: int = 0) -> DataError:
    """The error for an encoded image of ``size`` bytes; ``most`` 0 is MAX_ENCODED_BYTES."""
    return DataError(
        f"{where} is {size / 2**20:.0f} MiB",
        expected=f"an image of at most {(most or MAX_ENCODED_BYTES) / 2**20:.0f} MiB",
        remedy="Remove it.",
    )
