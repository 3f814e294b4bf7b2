"""What a file is by its first bytes, whatever its name says."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

#: Bytes at the start of a file that ``kind_of`` looks at.
HEAD_BYTES: Final = 512


class ContentKind(NamedTuple):
    """A kind of file.

    Attributes:
        name: with its article: ``a PNG image``.
        group: what can be done with it.
    """

    name: str
    group: Literal["picture", "archive", "other"]


def _picture(name: str) -> ContentKind:
    return ContentKind(name, "picture")


#: (offset, bytes there, kind); the first that fits counts.
_SIGNATURES: Final[tuple[tuple[int, bytes, ContentKind], ...]] = (
    (0, b"\x89PNG\r\n\x1a\n", _picture("a PNG image")),
    (0, b"\xff\xd8\xff", _picture("a JPEG image")),
    (0, b"GIF8", _picture("a GIF image")),
    (0, b"BM", _picture("a BMP image")),
    (0, b"II*\0", _picture("a TIFF image")),
    (0, b"MM\0*", _picture("a TIFF image")),
    (0, b"II\0*", _picture("a TIFF image")),
    (0, b"MM*\0", _picture("a TIFF image")),
    (0, b"II+\0", _picture("a TIFF image")),
    (0, b"MM\0+", _picture("a TIFF image")),
    (0, b"\0\0\0\x0cjP  ", _picture("a JPEG 2000 image")),
    (0, b"\xff\x0a", _picture("a JPEG XL image")),
    (0, b"\0\0\0\x0cJXL ", _picture("a JPEG XL image")),
    (0, b"\0\0\1\0", _picture("a Windows icon")),
    (0, b"8BPS", _picture("a Photoshop file")),
    (0, b"qoif", _picture("a QOI image")),
    (0, b"%!PS", _picture("a PostScript drawing (EPS)")),
    (0, b"\xc5\xd0\xd3\xc6", _picture("a PostScript drawing (EPS)")),
    (0, b"%PDF", ContentKind("a PDF document", "other")),
    (0, b"PK\3\4", ContentKind("a zip", "archive")),
    (0, b"PK\5\6", ContentKind("an empty zip", "archive")),
    (0, b"\x1f\x8b", ContentKind("a gzip archive, such as .tar.gz", "archive")),
    (0, b"BZh", ContentKind("a bzip2 archive, such as .tar.bz2", "archive")),
    (0, b"\xfd7zXZ\0", ContentKind("an xz archive, such as .tar.xz", "archive")),
    (0, b"\x28\xb5\x2f\xfd", ContentKind("a Zstandard archive, such as .tar.zst", "archive")),
    (0, b"7z\xbc\xaf\x27\x1c", ContentKind("a 7z archive", "archive")),
    (0, b"Rar!\x1a\x07", ContentKind("a RAR archive", "archive")),
    (257, b"ustar", ContentKind("a tar archive", "archive")),
    (0, b"\x93NUMPY", ContentKind("a NumPy array", "other")),
    (0, b"\x89HDF\r\n\x1a\n", ContentKind("an HDF5 file", "other")),
    (0, b"PAR1", ContentKind("a Parquet file", "other")),
    (0, b"SQLite format 3\0", ContentKind("an SQLite database", "other")),
    (0, b"\x1a\x45\xdf\xa3", ContentKind("a video", "other")),
    (0, b"<svg", _picture("an SVG drawing")),
)

_HEIF_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
)
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})


def kind_of(head: bytes) -> ContentKind | None:
    """Return the kind of a file by its first HEAD_BYTES bytes; None for one that is unknown."""
    if head[4:8] == b"ftyp":
        return _media_kind(head)
    if head[:4] == b"RIFF":
        known = {b"WEBP": _picture("a WebP image"), b"AVI ": ContentKind("a video", "other")}
        return known.get(head[8:12])
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return _picture("a PPM image")
    if b"<svg" in head and head.lstrip().startswith(b"<"):
        return _picture("an SVG drawing")
    for offset, signature, kind in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return kind
    return None


def _media_kind(head: bytes) -> ContentKind:
    """ISO/IEC 14496-12, 4.3: the main brand, the minor version, then the compatible brands."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))}
    if brands & _AVIF_BRANDS:
        return _picture("an AVIF image")
    if brands & _HEIF_BRANDS:
        return _picture("a HEIC image")
    return ContentKind("a video", "other")
