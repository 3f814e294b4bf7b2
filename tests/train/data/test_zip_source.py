from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import PIL.Image
import pytest

from segan.runtime.errors import DataError
from segan.train.data import zip_source
from segan.train.data.open_source import open_source
from segan.train.data.sources import natural_key

if TYPE_CHECKING:
    from tests.conftest import RaisesError

DEFLATED, STORED = zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED


def png() -> bytes:
    data = io.BytesIO()
    PIL.Image.new("RGB", (8, 8)).save(data, "PNG")
    return data.getvalue()


def write(path: Path, files: dict[str, bytes], method: int = STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def change(path: Path, local: dict[int, bytes], central: dict[int, bytes]) -> Path:
    """Overwrite fields of the first member, at these offsets of its two headers."""
    data = bytearray(path.read_bytes())
    for start, fields in (
        (data.index(b"PK\3\4"), local),
        (data.index(b"PK\1\2"), central),
    ):
        for at, value in fields.items():
            data[start + at : start + at + len(value)] = value
    path.write_bytes(data)
    return path


def read(path: Path) -> bytes:
    with open_source(path) as source:
        return source.read(source.names[0])


@pytest.mark.parametrize("method", [STORED, DEFLATED])
def test_members_are_read(tmp_path: Path, method: int) -> None:
    assert read(write(tmp_path / "a.zip", {"a.png": png()}, method)) == png()


@pytest.mark.parametrize(
    ("method", "name"),
    [(14, "LZMA"), (12, "bzip2"), (93, "Zstandard"), (9, "Deflate64"), (77, "method 77")],
)
def test_other_methods_are_named(
    tmp_path: Path, method: int, name: str, raises_error: RaisesError
) -> None:
    code = struct.pack("<H", method)
    path = change(write(tmp_path / "a.zip", {"a.png": png()}), {8: code}, {10: code})
    with raises_error(DataError, problem=name, expected="stored or deflated members"):
        read(path)


def test_an_encrypted_member_is_named(tmp_path: Path, raises_error: RaisesError) -> None:
    path = change(write(tmp_path / "a.zip", {"a.png": png()}), {6: b"\1"}, {8: b"\1"})
    with raises_error(DataError, problem="a.png in", remedy="password"):
        read(path)


@pytest.mark.parametrize(
    "central",
    [
        {6: b"\x63\0"},  # version 9.9
        {8: b"\x20\0"},  # patched data
        {8: b"\x40\0"},  # strong encryption
        {42: b"\xff\xff\xff\x7f"},  # its place
        {24: b"\xff\xff\0\0"},  # its size
        {28: b"\xff\xff"},  # length of its name
        {30: b"\xff\xff"},  # length of its further fields
        {16: b"\0\0\0\0"},  # its CRC
        {0: b"PK\7\7"},
    ],
)
def test_odd_headers_are_errors(tmp_path: Path, central: dict[int, bytes]) -> None:
    path = write(tmp_path / "a.zip", {"a.png": png(), "b.png": png()}, DEFLATED)
    with pytest.raises(DataError):
        read(change(path, {}, central))


def test_any_byte_of_the_directory_may_be_wrong(tmp_path: Path) -> None:
    data = write(tmp_path / "a.zip", {"a.png": png(), "b.png": png()}).read_bytes()
    for at in range(data.index(b"PK\1\2"), len(data)):
        for value in (0, 1, 0x7F, 0xFF):
            path = tmp_path / "b.zip"
            path.write_bytes(data[:at] + bytes([value]) + data[at + 1 :])
            try:
                with open_source(path) as source:
                    source.metadata()
                    for name in source.names:
                        source.read(name)
            except DataError:
                pass


def test_bombs_are_refused_by_their_size(tmp_path: Path, raises_error: RaisesError) -> None:
    most = zip_source.MAX_INFLATED_BYTES
    path = write(tmp_path / "a.zip", {"a.png": bytes(most + 1)}, DEFLATED)
    with raises_error(DataError, problem="a.png in", expected="an image of at most 64 MiB"):
        read(path)
    most = zip_source.MAX_METADATA_BYTES
    files = {"a.png": png(), "dataset.json": b" " * (most + 1)}
    with (
        open_source(write(tmp_path / "b.zip", files, DEFLATED)) as source,
        raises_error(DataError, field="path", problem="dataset.json"),
    ):
        source.metadata()


def test_data_that_exceed_the_stated_size_are_not_unpacked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", {"a.png": bytes(200 << 20)}, DEFLATED)
    small = struct.pack("<I", 1000)
    assert len(path.read_bytes()) < 1 << 20
    change(path, {22: small}, {24: small})
    done = limited(path, 100 << 20)
    assert "DataError" in done, done


def limited(path: Path, memory: int) -> str:
    """What reading a source says, in a process with so many bytes of memory."""
    program = (
        "import resource, sys\n"
        "from segan.train.data.convert import convert_images\n"
        "from segan.runtime.errors import DataError\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        f"resource.setrlimit(resource.RLIMIT_AS, (used + {memory}, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    print(convert_images(sys.argv[1], sys.argv[2], resolution=8).count)\n"
        "except DataError as error:\n"
        "    print('DataError', error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), str(path.with_suffix(".out.zip"))],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.parametrize(
    "text",
    [
        b'{"labels":[' + b"[]," * (7 << 20) + b"[]]}",
        b'{"labels":[' + b'["a",0],' * (2 << 20) + b'["a",0]]}',
        b'{"labels":' + b"[" * (20 << 20),
        b'{"labels":null,"x":[' + b"{}," * (7 << 20) + b"{}]}",
        b'{"labels":null,"class_names":[' + b'"",' * (7 << 20) + b'""]}',
        b'{"labels":null,"attributes":{"schema":[' + b"{}," * (7 << 20) + b"{}]}}",
        b'{"labels":null,"attributes":{"values":{"a":[' + b"[]," * (7 << 20) + b"[]]}}}",
        b'{"labels":null,"attributes":{"values":{"a":[' + b'"x",' * (5 << 20) + b'"x"]}}}',
        b"{" + b'"a":0,' * (3 << 20) + b'"b":0}',
    ],
)
def test_dataset_json_bombs_need_512_mib(tmp_path: Path, text: bytes) -> None:
    path = write(tmp_path / "a.zip", {"a.png": png(), "dataset.json": text}, DEFLATED)
    assert len(text) < zip_source.MAX_METADATA_BYTES
    done = limited(path, 512 << 20)
    assert done.startswith(("1\n", "DataError")), done[-2000:]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_a_directory_of_a_million_members_is_refused(tmp_path: Path) -> None:
    entry = b"PK\3\4" + bytes(26)  # a place for the members to point at
    record = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, *[0] * 14) + b"a"
    record = record[:28] + struct.pack("<H", 1) + record[30:]
    count = 1_000_000
    directory = record * count
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65_535, 65_535, len(directory), len(entry), 0)
    path = tmp_path / "a.zip"
    path.write_bytes(entry + directory + end)
    done = limited(path, 512 << 20)
    assert "its directory is larger than" in done, done[-2000:]


def test_numbers_of_any_length_sort() -> None:
    names = [f"{number}.png" for number in ("9", "10", "2" * 5000, "1" * 5001)]
    mixed = names[::-1]
    assert sorted(mixed, key=natural_key) == names
    assert natural_key("a٣.png") > natural_key("1.png")
