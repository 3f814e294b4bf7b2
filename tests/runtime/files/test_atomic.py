from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from segan.runtime.errors import OutputError
from segan.runtime.files.atomic import (
    atomic_file,
    make_folder,
    output_error,
    sha256_file,
    sync_folder,
    write_atomic,
)


def test_the_file_appears_whole_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    with atomic_file(path) as file:
        file.write(b"one")
        assert not path.exists()
    assert path.read_bytes() == b"one"
    assert os.listdir(path.parent) == ["file"]


def test_a_crash_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def crash() -> None:
        with atomic_file(path) as file:
            file.write(b"half of the n")
            raise KeyError

    with pytest.raises(KeyError):
        crash()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_long_name_that_the_system_allows_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250)
    write_atomic(path, b"x", sync=False)
    assert path.read_bytes() == b"x"


def test_a_full_disk_is_named_and_the_old_file_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")
    with pytest.raises(OutputError, match="disk is full"), atomic_file(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_bytes() == b"old"


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="there is a file where a folder is expected"):
        write_atomic(tmp_path / "file" / "inner", b"x")
    with pytest.raises(OutputError, match="there is a file where a folder is expected"):
        make_folder(tmp_path / "file")


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="there is a folder where a file is expected"):
        write_atomic(tmp_path / "folder", b"x")
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="permission was denied"):
        write_atomic(tmp_path / "file", b"x")


def test_an_unknown_reason_is_given_in_the_systems_words() -> None:
    assert "Input/output error" in str(output_error("x", OSError(errno.EIO, "Input/output error")))


def test_make_folder_may_be_repeated(tmp_path: Path) -> None:
    assert make_folder(make_folder(tmp_path / "a" / "b")).is_dir()
    sync_folder(tmp_path / "a")
    sync_folder(tmp_path / "missing")


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    # FIPS 180-4, the standard's own example.
    assert sha256_file(tmp_path / "file") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    assert sha256_file(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()
