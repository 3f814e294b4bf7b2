from __future__ import annotations

import hashlib
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from segan.runtime.bundle import reader as bundle_module
from segan.runtime.bundle.reader import find_bundle, is_bundle, open_bundle
from segan.runtime.errors import BundleError

if TYPE_CHECKING:
    from tests.conftest import RaisesError

Edit = Callable[..., None]
Replace = Callable[[Path, str, bytes], None]


def _pack(folder: Path, path: Path, *, prefix: str = "", method: int = zipfile.ZIP_STORED) -> Path:
    """Zips a bundle folder."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, prefix + file.name)
    return path


def test_a_folder_is_read(toy_bundle: Path) -> None:
    bundle = open_bundle(toy_bundle)
    assert bundle.path == toy_bundle
    assert bundle.manifest.name == "toy"
    for name in bundle.manifest.files:
        assert bundle.read(name) == (toy_bundle / name).read_bytes()
    bundle.verify()
    assert bundle.attributes == {"attributes": []}


def test_a_zip_is_read(toy_bundle_zip: Path) -> None:
    bundle = open_bundle(str(toy_bundle_zip))
    assert bundle.manifest.class_names == ("circle", "square", "star")
    bundle.verify()
    assert bundle.read("mapping.onnx")


@pytest.mark.parametrize("prefix", ["", "faces.segan/"])
def test_a_zipped_folder_reads_like_the_folder(
    toy_bundle: Path, tmp_path: Path, prefix: str
) -> None:
    packed = open_bundle(_pack(toy_bundle, tmp_path / "packed.segan", prefix=prefix))
    folder = open_bundle(toy_bundle)
    assert packed.manifest == folder.manifest
    for name in folder.manifest.files:
        assert packed.read(name) == folder.read(name)


def test_a_bundle_without_attributes_has_none(toy_bundle: Path, edit_manifest: Edit) -> None:
    files = dict(open_bundle(toy_bundle).manifest.files)
    del files["attributes.json"]
    edit_manifest(toy_bundle, files=files)
    assert open_bundle(toy_bundle).attributes == {}


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_attributes_that_are_no_json_object(
    toy_bundle: Path, replace_file: Replace, data: bytes
) -> None:
    replace_file(toy_bundle, "attributes.json", data)
    with pytest.raises(BundleError, match=r"attributes\.json"):
        _ = open_bundle(toy_bundle).attributes


# What is no bundle.


def test_nothing_there_says_how_to_make_one(tmp_path: Path, raises_error: RaisesError) -> None:
    path = tmp_path / "faces.segan"
    with raises_error(BundleError, field="bundle", value=path, remedy=f"segan export -o {path}"):
        open_bundle(path)


def test_a_forgotten_ending_is_suggested(toy_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"Did you mean .*toy\.segan\?"):
        open_bundle(toy_bundle.with_suffix(""))


def test_a_path_through_a_file(toy_bundle_zip: Path) -> None:
    with pytest.raises(BundleError, match="no bundle at"):
        open_bundle(toy_bundle_zip / "inner")


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"a folder without manifest\.json"):
        open_bundle(tmp_path)


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04", b"\x89PNG\r\n"])
def test_a_file_that_is_no_zip(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "faces.segan"
    path.write_bytes(data)
    with pytest.raises(BundleError, match="cannot be read as a zip"):
        open_bundle(path)


def test_a_zip_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "faces.segan"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/b/manifest.json", "{}")
    with pytest.raises(BundleError, match=r"a zip without manifest\.json"):
        open_bundle(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
def test_a_pipe_is_refused_not_waited_for(toy_bundle: Path) -> None:
    pipe = toy_bundle / "offsets.onnx"
    pipe.unlink()
    os.mkfifo(pipe)
    with pytest.raises(BundleError, match="neither a folder nor a file"):
        open_bundle(pipe)


@pytest.mark.parametrize("prefix", ["", "faces.segan/", "a/b/"])
def test_what_is_meant_as_a_bundle(toy_bundle: Path, tmp_path: Path, prefix: str) -> None:
    packed = _pack(toy_bundle, tmp_path / "packed.zip", prefix=prefix)
    assert is_bundle(packed) == (prefix != "a/b/")


def test_what_is_not_meant_as_a_bundle(toy_bundle: Path, tmp_path: Path) -> None:
    assert is_bundle(toy_bundle)
    assert is_bundle(tmp_path / "missing.segan")  # by its name: the error is that of a bundle
    assert is_bundle(toy_bundle.rename(tmp_path / "renamed"))
    assert not is_bundle(tmp_path)
    assert not is_bundle(tmp_path / "missing")
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04")
    assert not is_bundle(tmp_path / "cut.zip")
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("dataset.json", "{}")
    assert not is_bundle(tmp_path / "data.zip")


# Damage.


def test_a_zip_cut_short_at_any_place(toy_bundle_zip: Path) -> None:
    data = toy_bundle_zip.read_bytes()
    for size in range(0, len(data), 500):
        toy_bundle_zip.write_bytes(data[:size])
        with pytest.raises(BundleError, match="truncated"):
            open_bundle(toy_bundle_zip)


def test_a_zip_with_any_byte_altered_is_noticed_or_reads_the_same(toy_bundle_zip: Path) -> None:
    data = toy_bundle_zip.read_bytes()
    whole = open_bundle(toy_bundle_zip)
    files = {name: whole.read(name) for name in whole.manifest.files}
    for at in range(7, len(data), 97):
        toy_bundle_zip.write_bytes(data[:at] + bytes([data[at] ^ 0x11]) + data[at + 1 :])
        try:
            bundle = open_bundle(toy_bundle_zip)
            found = {name: bundle.read(name) for name in files}
        except BundleError:
            continue
        assert found == files


@pytest.mark.parametrize("name", ["mapping.onnx", "synthesis.onnx", "noise.npy"])
def test_a_missing_file_is_named(toy_bundle: Path, tmp_path: Path, name: str) -> None:
    (toy_bundle / name).unlink()
    packed = _pack(toy_bundle, tmp_path / "packed.segan")
    for path in (toy_bundle, packed):
        bundle = open_bundle(path)
        with pytest.raises(BundleError, match=f"{name} is missing"):
            bundle.read(name)
        with pytest.raises(BundleError, match=f"{name} is missing"):
            bundle.verify()


def test_an_altered_file_is_named(toy_bundle: Path) -> None:
    path = toy_bundle / "offsets.onnx"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    bundle = open_bundle(toy_bundle)
    bundle.read("mapping.onnx")
    with pytest.raises(BundleError, match=r"offsets\.onnx was altered"):
        bundle.read("offsets.onnx")
    with pytest.raises(BundleError, match=r"offsets\.onnx was altered"):
        bundle.verify()


def test_a_folder_in_place_of_a_file(toy_bundle: Path) -> None:
    (toy_bundle / "noise.npy").unlink()
    (toy_bundle / "noise.npy").mkdir()
    with pytest.raises(BundleError, match=r"noise\.npy cannot be read"):
        open_bundle(toy_bundle).read("noise.npy")


def test_unlisted_files_are_left_alone(toy_bundle: Path) -> None:
    (toy_bundle / "engines").mkdir()
    (toy_bundle / "other.onnx").write_bytes(b"?")
    bundle = open_bundle(toy_bundle)
    bundle.verify()
    with pytest.raises(BundleError, match=r"'other\.onnx' is not listed"):
        bundle.read("other.onnx")


def test_the_manifests_own_errors_name_the_bundle(toy_bundle: Path, edit_manifest: Edit) -> None:
    edit_manifest(toy_bundle, format="segan.bundle/9")
    with pytest.raises(BundleError, match=r"toy\.segan: .*segan\.bundle/9"):
        open_bundle(toy_bundle)


def test_a_file_that_is_too_large_is_not_read(
    toy_bundle: Path, toy_bundle_zip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_module, "MAX_FILE_BYTES", 100)
    for path in (toy_bundle, toy_bundle_zip):
        with pytest.raises(BundleError, match="expected at most 100"):
            open_bundle(path).read("synthesis.onnx")
    monkeypatch.setattr(bundle_module, "MAX_MANIFEST_BYTES", 100)
    for path in (toy_bundle, toy_bundle_zip):
        with pytest.raises(BundleError, match="expected at most 100"):
            open_bundle(path)


def test_a_compressed_zip_says_what_to_do(toy_bundle: Path, tmp_path: Path) -> None:
    path = _pack(toy_bundle, tmp_path / "packed.segan", method=zipfile.ZIP_DEFLATED)
    with pytest.raises(BundleError, match=r"compressed .*zip -0"):
        open_bundle(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_in_a_zip(toy_bundle: Path, tmp_path: Path) -> None:
    path = _pack(toy_bundle, tmp_path / "packed.segan")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("mapping.onnx", b"another")
    with pytest.raises(BundleError, match="2 times"):
        open_bundle(path).read("mapping.onnx")


# Paths that leave the bundle.

OUTSIDE = [
    "../secret",
    "a/../../secret",
    "/etc/passwd",
    "..\\secret",
    "C:secret",
    "C:/secret",
    "//host/share/secret",
    "./noise.npy",
    "a//b",
    "",
    "..",
    "a\0b",
    "manifest.json",
]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("field", ["mapping", "offsets", "synthesis", "noise", "files"])
def test_names_that_leave_the_bundle(
    toy_bundle: Path, edit_manifest: Edit, tmp_path: Path, name: str, field: str
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    manifest = open_bundle(toy_bundle).manifest
    graphs: dict[str, Any] = {
        "mapping": manifest.graphs.mapping,
        "offsets": manifest.graphs.offsets,
        "synthesis": dict(manifest.graphs.synthesis),
    }
    fields: dict[str, Any] = {"files": {**manifest.files, name: "0" * 64}}
    if field == "noise":
        fields["noise"] = name
    elif field == "synthesis":
        fields["graphs"] = {**graphs, "synthesis": {"fp32": "synthesis.onnx", "fp16": name}}
    elif field != "files":
        fields["graphs"] = {**graphs, field: name}
    edit_manifest(toy_bundle, **fields)
    packed = _pack(toy_bundle, tmp_path / "packed.segan")
    for path in (toy_bundle, packed):
        with pytest.raises(BundleError, match="plain relative path"):
            open_bundle(path)


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need rights on Windows")
def test_links_that_leave_the_bundle(toy_bundle: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.onnx"
    shutil.move(toy_bundle / "mapping.onnx", outside)
    (toy_bundle / "mapping.onnx").symlink_to(outside)
    bundle = open_bundle(toy_bundle)
    with pytest.raises(BundleError, match=r"mapping\.onnx' leads outside"):
        bundle.read("mapping.onnx")
    shutil.move(toy_bundle / "manifest.json", tmp_path / "manifest.json")
    (toy_bundle / "manifest.json").symlink_to(tmp_path / "manifest.json")
    with pytest.raises(BundleError, match="leads outside"):
        open_bundle(toy_bundle)


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need rights on Windows")
def test_links_that_stay_inside_are_followed_and_loops_are_not(toy_bundle: Path) -> None:
    (toy_bundle / "mapping.onnx").rename(toy_bundle / "real.onnx")
    (toy_bundle / "mapping.onnx").symlink_to("real.onnx")
    (toy_bundle / "offsets.onnx").unlink()
    (toy_bundle / "offsets.onnx").symlink_to("offsets.onnx")
    bundle = open_bundle(toy_bundle)
    assert bundle.read("mapping.onnx")
    with pytest.raises(BundleError, match=r"offsets\.onnx cannot be read"):
        bundle.read("offsets.onnx")


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need rights on Windows")
def test_the_bundle_itself_may_be_a_link(toy_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "link.segan").symlink_to(toy_bundle)
    open_bundle(tmp_path / "link.segan").verify()


# Finding one.


def _touch(path: Path, age_s: float) -> None:
    moment = time.time() - age_s
    os.utime(path / "manifest.json" if path.is_dir() else path, (moment, moment))


def test_the_newest_bundle_is_found(toy_bundle: Path, toy_bundle_zip: Path) -> None:
    start = toy_bundle.parent
    deep = Path(shutil.copytree(toy_bundle, start / "runs" / "00000" / "deep.segan"))
    _touch(toy_bundle, 10)
    _touch(toy_bundle_zip, 20)
    _touch(deep, 30)
    assert find_bundle(start) == toy_bundle
    _touch(toy_bundle_zip, 5)
    assert find_bundle(start) == toy_bundle_zip
    _touch(deep, 1)
    assert find_bundle(start) == deep


def test_of_equally_new_bundles_the_first_by_name(toy_bundle: Path) -> None:
    other = Path(shutil.copytree(toy_bundle, toy_bundle.with_name("another.segan")))
    for path in (toy_bundle, other):
        os.utime(path / "manifest.json", (1e9, 1e9))
    assert find_bundle(toy_bundle.parent) == other


def test_no_bundle_is_found(tmp_path: Path) -> None:
    assert find_bundle(tmp_path) is None
    assert find_bundle(tmp_path / "missing") is None
    (tmp_path / "empty.segan").mkdir()
    assert find_bundle(tmp_path) is None


@pytest.mark.parametrize("folder", [".hidden", ".venv", "node_modules", "env", "a/b/c/d/e/f/g"])
def test_some_folders_are_not_searched(toy_bundle: Path, tmp_path: Path, folder: str) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "pyvenv.cfg").touch()
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    shutil.move(toy_bundle, tmp_path / folder / "toy.segan")
    assert find_bundle(tmp_path) is None


def test_the_current_folder_is_searched(toy_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(toy_bundle.parent)
    found = find_bundle()
    assert found is not None
    assert found.resolve() == toy_bundle.resolve()


@pytest.mark.parametrize(("flag", "is_read"), [(0x0001, False), (0x0800, True)])
def test_an_encrypted_entry_is_refused_and_a_utf8_name_is_not(
    toy_bundle: Path, tmp_path: Path, flag: int, is_read: bool
) -> None:
    path = _pack(toy_bundle, tmp_path / "packed.segan")
    data = bytearray(path.read_bytes())
    # The flags are 6 bytes into an entry's own header and 8 into its line of the directory.
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(mark)
        while at >= 0:
            data[at + place] |= flag & 0xFF
            data[at + place + 1] |= flag >> 8
            at = data.find(mark, at + 4)
    path.write_bytes(data)
    if is_read:
        open_bundle(path).verify()
        return
    with pytest.raises(BundleError) as error:
        open_bundle(path)
    assert error.value.expected == "a stored entry"


def test_the_limits_of_a_bundle_are_those_of_the_documentation() -> None:
    assert bundle_module.MAX_MANIFEST_BYTES == 16 * 1024**2
    assert bundle_module.MAX_FILE_BYTES == 2 * 1024**3


def test_a_file_of_exactly_the_largest_size_is_read(
    toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = _pack(toy_bundle, tmp_path / "packed.segan")
    size = (toy_bundle / "synthesis.onnx").stat().st_size
    monkeypatch.setattr(bundle_module, "MAX_FILE_BYTES", size)
    for path in (toy_bundle, packed):
        assert len(open_bundle(path).read("synthesis.onnx")) == size
    monkeypatch.setattr(bundle_module, "MAX_FILE_BYTES", size - 1)
    for path in (toy_bundle, packed):
        with pytest.raises(BundleError) as error:
            open_bundle(path).read("synthesis.onnx")
        assert error.value.expected == f"at most {size - 1}"


def test_an_altered_file_shows_both_hashes(toy_bundle: Path) -> None:
    path = toy_bundle / "offsets.onnx"
    stated = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes() + b"\0")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(BundleError) as error:
        open_bundle(toy_bundle).read("offsets.onnx")
    assert f"{found[:12]}..." in error.value.problem
    assert error.value.expected == f"{stated[:12]}..."


def test_a_path_that_no_system_takes(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as error:
        open_bundle(f"{tmp_path}/a\0b.segan")
    assert error.value.field in ("bundle", "path")
