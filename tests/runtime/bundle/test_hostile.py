"""Bundles made to harm: each is one clear error, soon and in little memory."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segan.runtime.backends.graphs import open_graphs
from segan.runtime.bundle import reader
from segan.runtime.bundle.attributes import MAX_ATTRIBUTES, read_attributes
from segan.runtime.bundle.manifest import MAX_SUBSPACES, MAX_WIDTH
from segan.runtime.bundle.reader import is_bundle, open_bundle
from segan.runtime.errors import BundleError

Replace = Callable[[Path, str, bytes], None]

#: Seconds that a refusal may take on a busy machine.
SOON = 2.0


def _zip(folder: Path) -> bytes:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    return path.read_bytes()


def _edited(data: bytes, mark: bytes, place: int, value: bytes, *, every: bool = True) -> bytes:
    """Overwrite bytes at a place after each mark."""
    changed, at = bytearray(data), data.find(mark)
    while at >= 0:
        changed[at + place : at + place + len(value)] = value
        at = data.find(mark, at + 4) if every else -1
    return bytes(changed)


LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"

ZIPS: dict[str, Callable[[bytes], bytes]] = {
    "a version of the future": lambda data: _edited(data, CENTRAL, 6, b"\xff\x00"),
    "a version in its own header": lambda data: _edited(data, LOCAL, 4, b"\xff\x00"),
    "an unknown method": lambda data: _edited(data, CENTRAL, 10, b"\x63\x00"),
    "LZMA": lambda data: _edited(data, CENTRAL, 10, b"\x0e\x00"),
    "patched data": lambda data: _edited(data, CENTRAL, 8, b"\x20\x00"),
    "strong encryption": lambda data: _edited(data, CENTRAL, 8, b"\x40\x00"),
    "no entries": lambda data: _edited(data, END, 8, b"\0\0\0\0"),
    "a longer directory": lambda data: _edited(data, END, 12, b"\xff\xff\x00\x00"),
    "a directory of 4 GiB": lambda data: _edited(data, END, 12, b"\xf0\xff\xff\xff"),
    "a directory elsewhere": lambda data: _edited(data, END, 16, b"\x10\0\0\0"),
    "a longer name": lambda data: _edited(data, CENTRAL, 28, b"\xff\xff"),
    "no name": lambda data: _edited(data, CENTRAL, 28, b"\0\0"),
    "a longer extra field": lambda data: _edited(data, CENTRAL, 30, b"\xff\xff"),
    "sizes of 4 GiB": lambda data: _edited(data, CENTRAL, 20, b"\xfe\xff\xff\xff" * 2),
    "two sizes": lambda data: _edited(data, CENTRAL, 24, b"\x10\0\0\0"),
    "an offset past the end": lambda data: _edited(data, CENTRAL, 42, b"\xfe\xff\xff\x7f"),
    "an offset into another": lambda data: _edited(data, CENTRAL, 42, b"\0\0\0\0"),
    "another name in its own header": lambda data: _edited(data, LOCAL, 30, b"\0\0"),
    "another sum": lambda data: _edited(data, CENTRAL, 16, b"\0\0\0\0"),
    "a date that is none": lambda data: _edited(data, CENTRAL, 12, b"\xff" * 4),
    "names that are not UTF-8": lambda data: _edited(
        _edited(data, CENTRAL, 8, b"\x00\x08"), CENTRAL, 46, b"\xff\xfe"
    ),
    "a broken ZIP64 field": lambda data: _edited(data, CENTRAL, 24, b"\xff\xff\xff\xff"),
    "a ZIP64 end that is not there": lambda data: (
        data[: data.rfind(END)]
        + struct.pack("<4sLQL", b"PK\x06\x07", 0, 1 << 60, 1)
        + _edited(data[data.rfind(END) :], END, 8, b"\xff" * 12)
    ),
}


#: What nothing of segan or zipfile reads.
UNUSED = {"a version in its own header", "no entries", "a date that is none"}


@pytest.mark.parametrize("name", ZIPS)
def test_odd_zips_are_one_clear_error(toy_bundle: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "odd.segan"
    path.write_bytes(ZIPS[name](_zip(toy_bundle)))
    start = time.monotonic()
    if name in UNUSED:
        open_bundle(path).verify()
    else:
        with pytest.raises(BundleError) as error:
            open_bundle(path).verify()
        assert error.value.field == "bundle"
    is_bundle(path)
    assert time.monotonic() - start < SOON


def test_a_zip_of_a_hundred_thousand_entries(tmp_path: Path) -> None:
    path = tmp_path / "many.segan"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(100_000):
            archive.writestr(zipfile.ZipInfo(f"{number:06}"), b"")
    with pytest.raises(BundleError, match="directory is larger"):
        open_bundle(path)


# The manifest and the names.


def _with(manifest: Path, **fields: Any) -> None:
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **fields}))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"z_dim": 10**12}, f"z_dim is 1000000000000; expected 1 to {MAX_WIDTH}"),
        ({"z_dim": 10**40}, "z_dim"),
        ({"w_dim": MAX_WIDTH + 1}, "w_dim"),
        ({"c_dim": 1 << 31}, "c_dim"),
        ({"coords_dim": -1, "subspaces": []}, "coords_dim is -1"),
        ({"coords_dim": MAX_WIDTH}, None),
        ({"coords_dim": 10**9}, "coords_dim"),
        ({"provenance": {"a": [0] * 2_000_001}}, "2000"),
        ({"files": {f"f{number}": "0" * 64 for number in range(5000)}}, "5000 files"),
    ],
)
def test_numbers_of_a_manifest_are_bounded(
    toy_bundle: Path, fields: dict[str, Any], problem: str | None
) -> None:
    _with(toy_bundle / "manifest.json", **fields)
    start = time.monotonic()
    if problem is None:
        open_bundle(toy_bundle)
    else:
        with pytest.raises(BundleError, match=problem):
            open_bundle(toy_bundle)
    assert time.monotonic() - start < SOON


def test_the_table_of_subspaces_is_bounded(toy_bundle: Path) -> None:
    manifest = json.loads((toy_bundle / "manifest.json").read_text())
    first = manifest["subspaces"][0]
    for rows, width, problem in (
        (MAX_SUBSPACES + 1, 6, f"{MAX_SUBSPACES + 1} subspaces"),
        (MAX_SUBSPACES, 60_000, "x 60000 coords"),
    ):
        table = [{**first, "index": number} for number in range(rows)]
        _with(toy_bundle / "manifest.json", subspaces=table, coords_dim=width)
        with pytest.raises(BundleError, match=problem):
            open_bundle(toy_bundle)


@pytest.mark.parametrize("name", ["a\x1b[2Jb.onnx", "a\u202eb.onnx", "a\x9bb", "a\u2028b"])
def test_names_of_files_are_printable(toy_bundle: Path, name: str) -> None:
    manifest = json.loads((toy_bundle / "manifest.json").read_text())
    _with(toy_bundle / "manifest.json", files={**manifest["files"], name: "0" * 64})
    with pytest.raises(BundleError, match="plain relative path") as error:
        open_bundle(toy_bundle)
    assert str(error.value).isprintable()


def test_deep_json_is_refused(toy_bundle: Path, replace_file: Replace) -> None:
    replace_file(toy_bundle, "attributes.json", b'{"attributes":' + b"[" * 200_000)
    with pytest.raises(BundleError, match=r"attributes\.json"):
        _ = open_bundle(toy_bundle).attributes
    (toy_bundle / "manifest.json").write_bytes(b'{"a":' * 200_000)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        open_bundle(toy_bundle)


def test_attributes_are_bounded(
    toy_bundle: Path, replace_file: Replace, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"layer": 0, "dim": 0, "range": [-1, 1]}
    many = [{**entry, "name": f"n{number}"} for number in range(MAX_ATTRIBUTES + 1)]
    replace_file(toy_bundle, "attributes.json", json.dumps({"attributes": many}).encode())
    start = time.monotonic()
    with pytest.raises(BundleError, match=f"{MAX_ATTRIBUTES + 1} names"):
        read_attributes(open_bundle(toy_bundle))
    assert time.monotonic() - start < SOON
    monkeypatch.setattr(reader, "MAX_ATTRIBUTES_BYTES", 100)
    with pytest.raises(BundleError, match="at most 100"):
        _ = open_bundle(toy_bundle).attributes


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need rights on Windows")
def test_names_are_not_written_through_a_link_that_came_with_the_bundle(
    toy_bundle: Path, tmp_path: Path
) -> None:
    from segan.runtime.bundle.attributes_editing import name_slider, write_attributes
    from segan.runtime.bundle.layout import Slider

    theirs = tmp_path / "diary.txt"
    theirs.write_text("dear diary")
    (toy_bundle / reader.PENDING_ATTRIBUTES).symlink_to(theirs)
    bundle = open_bundle(toy_bundle)
    write_attributes(bundle, name_slider(bundle, Slider(1, 0, 2), "smile"))
    assert theirs.read_text() == "dear diary"
    assert [entry.name for entry in read_attributes(open_bundle(toy_bundle))] == ["smile"]


# The noise.


def _npy(header: str, body: bytes = b"", *, version: bytes = b"\x01\0") -> bytes:
    width = 2 if version[0] == 1 else 4
    text = header.encode("latin-1")
    return b"\x93NUMPY" + version + len(text).to_bytes(width, "little") + text + body


HEADERS = [
    "{1:2,'descr':'<f4','fortran_order':False,'shape':(1,)}",
    "{[]:1}",
    "-" * 9000,
    "(" * 4000,
    "[" * 4000,
    "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 1900 + ")}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1 " * 1900 + ")}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999999, 9999999999999999)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'shape': (2,)}",
    "{'descr': '<f4', 'fortran_order': False}",
    "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}",
    "{'descr': '|O', 'fortran_order': False, 'shape': (2,)}",
    "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}",
    "{'descr': '<f9', 'fortran_order': False, 'shape': (2,)}",
    "{'descr': '<U9999', 'fortran_order': False, 'shape': (2,)}",
    "{'descr': '<M8[ns]', 'fortran_order': False, 'shape': (2,)}",
    "",
]


@pytest.mark.parametrize("header", HEADERS, ids=lambda text: text[:30])
@pytest.mark.parametrize("version", [b"\x01\0", b"\x02\0", b"\x03\0", b"\xff\xff"])
def test_headers_of_the_noise(
    toy_bundle: Path, replace_file: Replace, header: str, version: bytes
) -> None:
    data = _npy(header, np.zeros(2, "<f4").tobytes(), version=version)
    replace_file(toy_bundle, "noise.npy", data)
    start = time.monotonic()
    with pytest.raises(BundleError, match=r"noise\.npy") as error:
        open_graphs(open_bundle(toy_bundle), "cpu")
    assert len(str(error.value)) < 1000
    assert time.monotonic() - start < SOON


# Memory.

CHILD = """
import os, resource, sys
from pathlib import Path
import numpy, onnxruntime, zipfile
from segan.runtime.bundle.attributes import read_attributes
from segan.runtime.backends.graphs import open_graphs
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.errors import SeganError
open_graphs(open_bundle(sys.argv[1]), "cpu").close()
used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (used + (512 << 20), resource.RLIM_INFINITY))
for path in sys.argv[2:]:
    try:
        bundle = open_bundle(path)
        read_attributes(bundle)
        open_graphs(bundle, "cpu")
    except SeganError as error:
        print(type(error).__name__, len(str(error)))
    else:
        print("no error")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of Linux")
def test_refusing_takes_little_memory(
    toy_bundle: Path, tmp_path: Path, replace_file: Replace
) -> None:
    import shutil

    def copy(name: str, file: str, data: bytes) -> str:
        path = Path(shutil.copytree(toy_bundle, tmp_path / f"{name}.segan"))
        if file == "manifest.json":
            (path / file).write_bytes(data)
        else:
            replace_file(path, file, data)
        return str(path)

    lists = b'{"attributes":[' + b"[]," * (5 << 20) + b"[]]}"
    nodes = b"\x0a\x00" * (8 << 20)  # graphs of eight million empty nodes
    size = len(nodes)
    head = b"\x08\x08\x3a" + bytes(
        [size & 127 | 128, size >> 7 & 127 | 128, size >> 14 & 127 | 128, size >> 21]
    )
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,), }"
    bad = [
        copy("lists", "manifest.json", b'{"a":' + lists),
        copy("names", "attributes.json", lists),
        copy("nodes", "mapping.onnx", head + nodes),
        copy("noise", "noise.npy", _npy(header)),
        copy("zeros", "synthesis.onnx", bytes(50 << 20)),
    ]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(toy_bundle), *bad],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["BundleError"] * len(bad)


def test_a_pipe_in_a_bundle_is_not_waited_for(toy_bundle: Path) -> None:
    (toy_bundle / "attributes.json").unlink()
    os.mkfifo(toy_bundle / "attributes.json")
    with pytest.raises(BundleError, match="not a regular file"):
        read_attributes(open_bundle(toy_bundle))
