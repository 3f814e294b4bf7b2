"""The published detectors' files: where they are, what their bytes must be, and fetching them.

Both are NVIDIA's, published with StyleGAN2-ADA. Their sha256 are pinned here. They are stated, for
these addresses, by several independent projects (k-diffusion and others for Inception; Hammer and
others for VGG16), and were not computed from a download by us. A file that the user names may have
another: then its sha256 is stored with the score, and ``--detector-sha256`` can demand one.
"""

from __future__ import annotations

import hashlib
import http.client
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from segan.runtime.errors import ConfigError, DataError
from segan.runtime.files.atomic import atomic_file, sha256_file
from segan.runtime.files.cache import cache_folder, cache_root
from segan.train.measure.quality.features import DetectorKind

_BASE = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
#: Name of the folder below the cache's root.
FOLDER = "detectors"
#: A file that is larger than this is none of the two.
_MAX_BYTES = 1 << 30
_TIMEOUT_S = 30.0


class PublishedFile(NamedTuple):
    """A detector as it is published.

    Attributes:
        file: its name.
        url: where it is.
        sha256: of its bytes.
        size: roughly, for people.
    """

    file: str
    url: str
    sha256: str
    size: str


PUBLISHED: dict[DetectorKind, PublishedFile] = {
    "inception": PublishedFile(
        "inception-2015-12-05.pt",
        f"{_BASE}inception-2015-12-05.pt",
        "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
        "96 MB",
    ),
    "vgg16": PublishedFile(
        "vgg16.pt",
        f"{_BASE}vgg16.pt",
        "b437eb095feaeb0b83eb3fa11200ebca4548ee39a07fb944a417ddc516cc07c3",
        "553 MB",
    ),
}


class DetectorFile(NamedTuple):
    """A file on this machine and the sha256 of its bytes."""

    path: Path
    sha256: str


def read_detector_options(
    items: Sequence[str], wanted: Sequence[DetectorKind]
) -> dict[DetectorKind, Path]:
    """Reads what was given as ``--detector``: FILE, or KIND=FILE.

    Args:
        items: such as ``vgg16.pt``, ``inception=my.pt``, or ``faces=FOLDER`` of an attribute
            network.
        wanted: the detectors that the metrics need; a file whose name does not tell is taken for
            the only one of them.

    Raises:
        ConfigError: an unknown kind, two files of a kind, or a file whose kind cannot be told.
    """
    found: dict[DetectorKind, Path] = {}
    for item in items:
        name, equals, path = item.partition("=")
        kind = _kind_named(name) if equals else None
        if equals and kind is None and not Path(item).exists():
            raise ConfigError(
                f"--detector {item!r}: there is no detector {name!r}; expected inception, vgg16 or "
                "faces."
            )
        if kind is None:
            path, kind = item, _kind_of_file(Path(item), wanted)
        if kind in found:
            raise ConfigError(f"--detector gives two files for {kind}; expected one.")
        found[kind] = Path(path).expanduser()
    return found


def _kind_named(name: str) -> DetectorKind | None:
    kinds: dict[str, DetectorKind] = {
        "inception": "inception",
        "vgg16": "vgg16",
        "vgg": "vgg16",
        "faces": "faces",
    }
    return kinds.get(name.strip().lower())


def _kind_of_file(path: Path, wanted: Sequence[DetectorKind]) -> DetectorKind:
    lower = path.name.lower()
    if "vgg" in lower:
        return "vgg16"
    if "inception" in lower:
        return "inception"
    needed = sorted(set(wanted))
    if len(needed) == 1:
        return needed[0]
    raise ConfigError(
        f"--detector {path} can be {' or '.join(needed or ['inception', 'vgg16'])}; say which: "
        f"--detector inception={path}"
    )


def detector_file(
    kind: DetectorKind,
    given: Mapping[DetectorKind, Path],
    allowed: Sequence[str] = (),
    *,
    on_fetch: Callable[[str], None] | None = None,
) -> DetectorFile:
    """Finds a detector's file: the one that the user gave, the kept one, or the published one.

    Args:
        kind: ``inception`` or ``vgg16``.
        given: files that the user named.
        allowed: sha256 that the user demands; empty for the published one, or whatever a named
            file has.
        on_fetch: told before something is fetched.

    Raises:
        DataError: the file is missing, or has another sha256, or cannot be fetched; the message
            says what to place where.
    """
    published = PUBLISHED[kind]
    demanded = tuple(value.lower() for value in allowed)
    if kind in given:
        path = given[kind]
        if not path.is_file():
            raise DataError(f"--detector {path} does not exist. {where_to_place(kind)}")
        found = _hash(path)
        if demanded and found not in demanded:
            raise DataError(_other_hash(path, found, demanded))
        return DetectorFile(path, found)
    path = cache_folder(FOLDER) / published.file
    if not path.is_file():
        _fetch(published, path, kind, on_fetch)
    found = _hash(path)
    expected = demanded or (published.sha256,)
    if found not in expected:
        raise DataError(_other_hash(path, found, expected))
    return DetectorFile(path, found)


def where_to_place(kind: DetectorKind) -> str:
    """What to do where the file cannot be fetched."""
    published = PUBLISHED[kind]
    return (
        f"Download {published.url} ({published.size}) on a machine that can, and place it as "
        f"{cache_root() / FOLDER / published.file}, or name it with --detector FILE."
    )


def _hash(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def _other_hash(path: Path, found: str, expected: Sequence[str]) -> str:
    return (
        f"{path} is another file than expected: its sha256 is {found}; expected "
        f"{' or '.join(expected)}. Download it again. If it is meant to be used, name it with "
        f"--detector {path} and leave --detector-sha256 out, or give its sha256 there."
    )


def _fetch(
    published: PublishedFile,
    path: Path,
    kind: DetectorKind,
    on_fetch: Callable[[str], None] | None,
) -> None:
    """Downloads to the side, and renames only what has the published sha256."""
    if on_fetch is not None:
        on_fetch(f"fetching {published.url} ({published.size})")
    digest = hashlib.sha256()
    size = 0
    try:
        with (
            urllib.request.urlopen(published.url, timeout=_TIMEOUT_S) as reply,  # an https URL
            atomic_file(path) as file,
        ):
            while part := _read(reply, published, kind):
                size += len(part)
                digest.update(part)
                file.write(part)
                if size > _MAX_BYTES:
                    break
            if digest.hexdigest() != published.sha256:
                raise DataError(
                    f"{published.url} gave {size} bytes with the sha256 {digest.hexdigest()}; "
                    f"expected {published.sha256}. Nothing was kept. {where_to_place(kind)}"
                )
    except (OSError, http.client.HTTPException) as error:
        raise _not_fetched(published, kind, error) from None


def _read(reply: Any, published: PublishedFile, kind: DetectorKind) -> bytes:
    """The next bytes. Errors of the network become DataError here, not the disk's OutputError."""
    try:
        part: bytes = reply.read(1 << 20)
    except (OSError, http.client.HTTPException) as error:
        raise _not_fetched(published, kind, error) from None
    return part


def _not_fetched(published: PublishedFile, kind: DetectorKind, error: Exception) -> DataError:
    reason = getattr(error, "reason", None) or str(error) or type(error).__name__
    return DataError(
        f"{published.file} is not on this machine and could not be fetched ({reason}). "
        + where_to_place(kind)
    )
