"""The files of the published detectors: their addresses and hashes, and fetching them.

NVIDIA published both detectors with StyleGAN2-ADA. Their sha256 are pinned here, as several
independent projects state them for these addresses (k-diffusion and others for Inception; Hammer
and others for VGG16); segan's authors did not compute them from a download. A file that the user
names may have any sha256, which is stored with the score, unless the user restricts it.
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
#: Both files are smaller than this.
_MAX_BYTES = 1 << 30
_TIMEOUT_S = 30.0


class PublishedFile(NamedTuple):
    """A published detector.

    Attributes:
        file: its name.
        url: its address.
        sha256: of its bytes.
        size: for people, rounded.
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
    """Read detectors that the user named: FILE, or KIND=FILE.

    Args:
        items: such as ``vgg16.pt``, ``inception=my.pt``, or ``faces=FOLDER`` of an attribute
            network.
        wanted: the detectors that the metrics need. Where they need only one, it is the kind of a
            file whose name does not state its kind.

    Raises:
        ConfigError: an unknown kind, two files of a kind, or a file of unknown kind.
    """
    found: dict[DetectorKind, Path] = {}
    for item in items:
        name, equals, path = item.partition("=")
        kind = _kind_named(name) if equals else None
        if equals and kind is None and not Path(item).exists():
            raise ConfigError(
                f"`detector` is {item!r}, and there is no detector {name!r}",
                field="detector",
                value=item,
                expected="inception, vgg16 or faces",
            )
        if kind is None:
            path, kind = item, _kind_of_file(Path(item), wanted)
        if kind in found:
            raise ConfigError(
                f"`detector` names two files for {kind}",
                field="detector",
                value=item,
                expected="one file",
            )
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
        f"`detector` is {path}, whose name does not state its kind",
        field="detector",
        value=str(path),
        expected=f"{' or '.join(needed or ['inception', 'vgg16'])}",
        remedy=f"Pass `detector inception={path}`, for example.",
    )


def detector_file(
    kind: DetectorKind,
    given: Mapping[DetectorKind, Path],
    allowed: Sequence[str] = (),
    *,
    on_fetch: Callable[[str], None] | None = None,
) -> DetectorFile:
    """Find a detector's file: the user's, the one in the cache, or the published one.

    Args:
        kind: ``inception`` or ``vgg16``.
        given: files that the user named.
        allowed: sha256 that the user accepts; empty accepts the published one, and any of a named
            file.
        on_fetch: called with a message before a download.

    Raises:
        DataError: the file is missing, has another sha256, or cannot be fetched.
    """
    published = PUBLISHED[kind]
    demanded = tuple(value.lower() for value in allowed)
    if kind in given:
        path = given[kind]
        if not path.is_file():
            raise DataError(
                f"{path} does not exist",
                field="detector",
                value=str(path),
                remedy=where_to_place(kind),
            )
        found = _hash(path)
        if demanded and found not in demanded:
            raise _other_hash(path, found, demanded)
        return DetectorFile(path, found)
    path = cache_folder(FOLDER) / published.file
    if not path.is_file():
        _fetch(published, path, kind, on_fetch)
    found = _hash(path)
    expected = demanded or (published.sha256,)
    if found not in expected:
        raise _other_hash(path, found, expected)
    return DetectorFile(path, found)


def where_to_place(kind: DetectorKind) -> str:
    """Return what to do where the file cannot be fetched, a sentence."""
    published = PUBLISHED[kind]
    return (
        f"Download {published.url} ({published.size}) on another machine, and place it at "
        f"{cache_root() / FOLDER / published.file}, or pass `detector FILE`."
    )


def _hash(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}", field="path", value=str(path)
        ) from error


def _other_hash(path: Path, found: str, expected: Sequence[str]) -> DataError:
    return DataError(
        f"the sha256 of {path} is {found}",
        field="detector_sha256",
        value=found,
        expected=" or ".join(expected),
        remedy=f"Download the file again. To use it as it is, pass `detector {path}`, and leave "
        f"`detector_sha256` out or pass `detector_sha256 {found}`.",
    )


def _fetch(
    published: PublishedFile,
    path: Path,
    kind: DetectorKind,
    on_fetch: Callable[[str], None] | None,
) -> None:
    """Download to a temporary file, and rename it only if it has the published sha256."""
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
                    f"{published.url} returned {size} bytes with the sha256 {digest.hexdigest()}; "
                    "they were not kept",
                    field="detector_sha256",
                    value=digest.hexdigest(),
                    expected=published.sha256,
                    remedy=where_to_place(kind),
                )
    except (OSError, http.client.HTTPException) as error:
        raise _not_fetched(published, kind, error) from None


def _read(reply: Any, published: PublishedFile, kind: DetectorKind) -> bytes:
    """Read the next bytes. A network error raises DataError, not the OutputError of the disk."""
    try:
        part: bytes = reply.read(1 << 20)
    except (OSError, http.client.HTTPException) as error:
        raise _not_fetched(published, kind, error) from None
    return part


def _not_fetched(published: PublishedFile, kind: DetectorKind, error: Exception) -> DataError:
    reason = getattr(error, "reason", None) or str(error) or type(error).__name__
    return DataError(
        f"{published.file} is not on this machine and could not be fetched ({reason})",
        field="detector",
        remedy=where_to_place(kind),
    )
