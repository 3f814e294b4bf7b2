from __future__ import annotations

import contextlib
import errno
import io
import itertools
import json
import os
import re
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import segan.runtime.batch.pipeline as batch_module
import segan.runtime.files.atomic as files_module
from segan.runtime.batch.pipeline import generate_batch
from segan.runtime.batch.plan import BatchRequest
from segan.runtime.batch.record import describe_seeds
from segan.runtime.errors import ConfigError, OutputError
from segan.runtime.generate.generator import Generator, load
from segan.runtime.latents.options import GenerationOptions, Settings
from segan.runtime.latents.seeds import parse_seeds

if TYPE_CHECKING:
    from tests.conftest import RaisesError

FOUR = GenerationOptions(batch_size=4)


@pytest.fixture(scope="module")
def generator() -> Iterator[Generator]:
    with load(Path(__file__).parents[2] / "data" / "toy.segan", threads=1) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert [t.name for t in threading.enumerate() if t.name.startswith("segan-")] == []


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of the folder, hidden ones included."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _pixels(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as found:
        return np.asarray(found)


class _Failing:
    """A generator that breaks off when it is asked for its n-th batch."""

    def __init__(self, generator: Generator, batches: int, error: BaseException) -> None:
        self._generator, self._left, self._error = generator, batches, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)

    def batches(
        self, chunks: Iterable[list[int]], settings: Settings
    ) -> Iterator[tuple[list[int], NDArray[np.uint8]]]:
        for batch in self._generator.batches(chunks, settings):
            if self._left < 0:
                raise self._error
            self._left -= 1
            yield batch


def _break_after(generator: Generator, batches: int) -> Generator:
    return cast(Generator, _Failing(generator, batches, KeyboardInterrupt()))


def test_png_files_hold_the_generators_images(generator: Generator, tmp_path: Path) -> None:
    options = GenerationOptions(psi=0.7, sliders={"L1N0D2": 1.0}, noise="random", batch_size=8)
    request = BatchRequest(seeds=parse_seeds("3-20,100"), options=options)
    result = generate_batch(generator, request, tmp_path / "out")
    assert (result.requested, result.written, result.found) == (19, 19, 0)
    seeds = [*range(3, 21), 100]
    # One by one: an image does not depend on its batch beyond rounding.
    for seed in seeds:
        image = generator.generate([seed], psi=0.7, sliders={"L1N0D2": 1.0}, noise="random")[0]
        found = _pixels((tmp_path / "out" / f"seed{seed:06d}.png").read_bytes())
        assert np.abs(found.astype(int) - image).max() <= 1
    names = {f"seed{seed:06d}.png" for seed in seeds} | {"generation.json"}
    assert set(contents(tmp_path / "out")) == names


@pytest.mark.parametrize(("files", "ending"), [("webp", ".webp"), ("jpeg", ".jpg")])
def test_other_image_files(generator: Generator, tmp_path: Path, files: Any, ending: str) -> None:
    generate_batch(generator, BatchRequest(seeds=range(3), format=files), tmp_path)
    for seed in range(3):
        assert _pixels((tmp_path / f"seed{seed:06d}{ending}").read_bytes()).shape == (16, 16, 3)


@pytest.mark.parametrize("files", ["npz", "zip", "tar"])
def test_shards_hold_every_seed_once_in_order(
    generator: Generator, tmp_path: Path, files: Any
) -> None:
    seeds = parse_seeds("0-9,50-59,20")
    request = BatchRequest(
        seeds=seeds, options=GenerationOptions(batch_size=3), format=files, shard_size=8
    )
    generate_batch(generator, request, tmp_path)
    # 21 seeds in shards of 8: 8 + 8 + 5, each computed in batches of 3.
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "generation.json",
        *(f"shard-{number:06d}.{files}" for number in range(3)),
    ]
    found: list[int] = []
    for number, size in enumerate((8, 8, 5)):
        shard = dict(_read_shard(tmp_path / f"shard-{number:06d}.{files}"))
        assert len(shard) == size
        found += shard
        for seed, image in shard.items():
            apart = image.astype(int) - generator.generate([seed])[0]
            assert np.abs(apart).max() <= 1
    assert found == list(seeds)


def _read_shard(path: Path) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            yield from zip(arrays["seeds"].tolist(), arrays["images"], strict=True)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield int(name[4:-4]), _pixels(archive.read(name))
    else:
        with tarfile.open(path) as tar:
            for entry in tar:
                file = tar.extractfile(entry)
                assert file is not None
                yield int(entry.name[4:-4]), _pixels(file.read())


def test_more_than_ten_thousand_seeds_go_to_subfolders(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segan.runtime.batch.plan.FOLDER_SIZE", 10)
    seeds = parse_seeds("5-9,19995-20004,123456")
    generate_batch(generator, BatchRequest(seeds=seeds), tmp_path)
    names = set(contents(tmp_path)) - {"generation.json"}
    assert names == {
        *(f"0000/seed{seed:06d}.png" for seed in range(5, 10)),
        *(f"0001/seed{seed:06d}.png" for seed in range(19995, 20000)),
        *(f"0002/seed{seed:06d}.png" for seed in range(20000, 20005)),
        "0012/seed123456.png",
    }
    generate_batch(generator, BatchRequest(seeds=range(10)), tmp_path / "ten")
    assert (tmp_path / "ten" / "seed000009.png").exists()


@pytest.mark.parametrize("files", ["png", "npz", "zip", "tar"])
def test_an_interrupted_batch_is_finished_by_the_same_request(
    generator: Generator, tmp_path: Path, files: Any
) -> None:
    request = BatchRequest(
        seeds=range(50),
        options=GenerationOptions(noise="random", batch_size=4),
        format=files,
        shard_size=None if files == "png" else 12,
    )
    whole = tmp_path / "whole"
    generate_batch(generator, request, whole)
    broken = tmp_path / "broken"
    for batches in (0, 1, 3, 5):
        with pytest.raises(KeyboardInterrupt):
            generate_batch(_break_after(generator, batches), request, broken)
        assert not [name for name in contents(broken) if name.endswith(".tmp")]
        assert contents(broken).items() <= contents(whole).items()
    result = generate_batch(generator, request, broken)
    assert contents(broken) == contents(whole)
    assert result.found + result.written == 50
    assert result.found > 0
    again = generate_batch(generator, request, broken)
    assert (again.found, again.written) == (50, 0)


def test_what_is_missing_is_made_and_nothing_else(generator: Generator, tmp_path: Path) -> None:
    request = BatchRequest(seeds=range(20), options=FOUR)
    generate_batch(generator, request, tmp_path)
    whole = contents(tmp_path)
    (tmp_path / "seed000007.png").unlink()
    # What a power cut can leave of a file that was never synced.
    (tmp_path / "seed000013.png").write_bytes(b"")
    # What a killed process leaves.
    (tmp_path / ".seed000007.png.999-0123abcd.tmp").write_bytes(b"half")
    (tmp_path / "mine.txt").write_text("stays")
    kept = (tmp_path / "seed000006.png").stat().st_mtime_ns
    result = generate_batch(generator, request, tmp_path)
    assert (result.written, result.found) == (2, 18)
    assert contents(tmp_path) == {**whole, "mine.txt": b"stays"}
    assert (tmp_path / "seed000006.png").stat().st_mtime_ns == kept


def test_a_folder_of_image_files_takes_further_seeds(generator: Generator, tmp_path: Path) -> None:
    generate_batch(generator, BatchRequest(seeds=range(10)), tmp_path)
    result = generate_batch(generator, BatchRequest(seeds=range(5, 15)), tmp_path)
    assert (result.found, result.written) == (5, 5)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"options": GenerationOptions(psi=0.5)}, "psi is 1.0 there, 0.5 here"),
        ({"options": GenerationOptions(cutoff=8)}, "cutoff is none there, 8 here"),
        (
            {"options": GenerationOptions(sliders={"L0N0D1": 2.0})},
            r"sliders is none there, .*L0N0D1",
        ),
        ({"options": GenerationOptions(noise="none")}, "noise is const there, none here"),
        ({"options": GenerationOptions(coords="zero")}, "coords is sampled there, zero here"),
        ({"options": GenerationOptions(mix={"0": 3})}, "mix is none there, .*'0': 3"),
        ({"format": "zip"}, "files is png there, zip here"),
        ({"compress_level": 6}, "compress_level is 1 there, 6 here"),
    ],
)
def test_a_folder_with_another_batch_is_refused(
    generator: Generator,
    tmp_path: Path,
    change: dict[str, Any],
    named: str,
    raises_error: RaisesError,
) -> None:
    generate_batch(generator, BatchRequest(seeds=range(4)), tmp_path)
    before = contents(tmp_path)
    with raises_error(ConfigError, field="out", value=tmp_path, remedy="`overwrite`") as caught:
        generate_batch(generator, BatchRequest(seeds=range(4), **change), tmp_path)
    assert re.search(named, caught.value.problem)
    assert contents(tmp_path) == before


def test_a_batch_begun_by_another_encoder_is_not_finished_by_this_one(
    generator: Generator, tmp_path: Path
) -> None:
    generate_batch(generator, BatchRequest(seeds=range(4)), tmp_path)
    path = tmp_path / "generation.json"
    record = json.loads(path.read_bytes())
    for there, said in (
        (record["encoder"] + "9", "up[+]rle.*9 there"),
        (None, "that of an older segan there"),
    ):
        path.write_text(json.dumps({**record, "encoder": there}))
        with pytest.raises(ConfigError, match=f"encoder is {said}.*overwrite"):
            generate_batch(generator, BatchRequest(seeds=range(5)), tmp_path)
    del record["encoder"]  # as it was written before there was a choice
    path.write_text(json.dumps(record))
    with pytest.raises(ConfigError, match="encoder is that of an older segan there"):
        generate_batch(generator, BatchRequest(seeds=range(5)), tmp_path)


@pytest.mark.parametrize("encoding", [{"compress_level": 6}, {"format": "jpeg"}])
def test_a_batch_of_an_older_segan_is_finished_where_the_bytes_are_the_same(
    generator: Generator, tmp_path: Path, encoding: Any
) -> None:
    generate_batch(generator, BatchRequest(seeds=range(4), **encoding), tmp_path)
    path = tmp_path / "generation.json"
    record = json.loads(path.read_bytes())
    del record["encoder"], record["precision"]
    path.write_text(json.dumps(record))
    result = generate_batch(generator, BatchRequest(seeds=range(6), **encoding), tmp_path)
    assert (result.found, result.written) == (4, 2)


def test_a_record_without_an_option_had_its_default(
    generator: Generator, tmp_path: Path, raises_error: RaisesError
) -> None:
    generate_batch(generator, BatchRequest(seeds=range(4)), tmp_path)
    path = tmp_path / "generation.json"
    record = json.loads(path.read_bytes())
    del record["psi_layers"], record["mix"], record["latents"]
    path.write_text(json.dumps(record))
    result = generate_batch(generator, BatchRequest(seeds=range(6)), tmp_path)
    assert (result.found, result.written) == (4, 2)
    path.write_text(json.dumps(record))
    mixed = BatchRequest(seeds=range(6), options=GenerationOptions(mix={0: 1}))
    with raises_error(ConfigError, problem="mix is none there"):
        generate_batch(generator, mixed, tmp_path)
    path.write_text(json.dumps({**record, "colour": 1}))
    with raises_error(ConfigError, problem="colour"):
        generate_batch(generator, BatchRequest(seeds=range(6)), tmp_path)


def test_shards_are_tied_to_their_seeds(
    generator: Generator, tmp_path: Path, raises_error: RaisesError
) -> None:
    generate_batch(generator, BatchRequest(seeds=range(4), format="tar"), tmp_path)
    with raises_error(ConfigError, problem="seeds is 0-3 there, 0-4 here"):
        generate_batch(generator, BatchRequest(seeds=range(5), format="tar"), tmp_path)


def test_another_bundle_is_refused(
    generator: Generator, toy_bundle_plain: Path, tmp_path: Path, raises_error: RaisesError
) -> None:
    generate_batch(generator, BatchRequest(seeds=range(2)), tmp_path / "out")
    with load(toy_bundle_plain) as other, raises_error(ConfigError, problem="bundle_sha256 is"):
        generate_batch(other, BatchRequest(seeds=range(2)), tmp_path / "out")


def test_overwrite_removes_the_earlier_batch_and_nothing_else(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segan.runtime.batch.plan.FOLDER_SIZE", 10)
    generate_batch(generator, BatchRequest(seeds=range(30)), tmp_path)
    (tmp_path / "mine.png").write_bytes(b"stays")
    (tmp_path / "0000" / "mine.txt").write_bytes(b"stays too")
    request = BatchRequest(seeds=range(4), format="tar")
    generate_batch(generator, request, tmp_path, overwrite=True)
    assert set(contents(tmp_path)) == {
        "0000/mine.txt",
        "generation.json",
        "mine.png",
        "shard-000000.tar",
    }


@pytest.mark.parametrize("overwrite", [False, True])
def test_images_of_unknown_origin_are_not_taken_for_ours(
    generator: Generator, tmp_path: Path, raises_error: RaisesError, overwrite: bool
) -> None:
    (tmp_path / "seed000001.png").write_bytes(b"somebody's")
    with raises_error(ConfigError, field="out", value=tmp_path, problem="no generation.json"):
        generate_batch(generator, BatchRequest(seeds=range(2)), tmp_path, overwrite=overwrite)
    assert contents(tmp_path) == {"seed000001.png": b"somebody's"}


@pytest.mark.parametrize("record", [b"", b"{}", b"[1", b'{"format": "segan.generation/9"}'])
def test_a_damaged_record_is_refused(generator: Generator, tmp_path: Path, record: bytes) -> None:
    (tmp_path / "generation.json").write_bytes(record)
    with pytest.raises(ConfigError, match=r"generation\.json(: | is truncated)"):
        generate_batch(generator, BatchRequest(seeds=range(2)), tmp_path)


def test_the_record_states_the_request(generator: Generator, tmp_path: Path) -> None:
    options = GenerationOptions(psi=0.5, sliders={"l0n0d1": 1})
    request = BatchRequest(seeds=parse_seeds("0-3,9"), options=options)
    generate_batch(generator, request, tmp_path)
    record = json.loads((tmp_path / "generation.json").read_bytes())
    # The file is the same, byte for byte, whatever the options are called within segan.
    assert list(record) == [
        *("format", "bundle", "bundle_sha256", "backend", "seeds"),
        *("psi", "cutoff", "coords", "sliders", "noise", "class_index"),
        *("files", "quality", "compress_level", "layout", "shard_size"),
        *("latents", "precision", "encoder", "psi_layers", "mix"),
    ]
    assert record["format"] == "segan.generation/1"
    assert record["seeds"] == "0-3,9"
    assert record["psi"] == 0.5
    assert record["sliders"] == {"L0N0D1": 1.0}
    assert record["layout"] == "flat"


def test_long_lists_of_seeds_are_recorded_by_their_hash() -> None:
    even = range(0, 2000, 2)
    text = describe_seeds(even)
    assert text.startswith("1000 seeds, sha256 ")
    assert text == describe_seeds(list(even))
    assert text != describe_seeds(range(0, 2002, 2))
    assert describe_seeds(range(1_000_000)) == "0-999999"
    assert describe_seeds([]) == ""
    assert describe_seeds(parse_seeds("0-3,4-7,9,10")) == "0-7,9-10"
    assert describe_seeds(range(3, 0, -1)) == "3,2,1"


def test_two_batches_at_once_in_one_folder_are_refused(
    generator: Generator, tmp_path: Path
) -> None:
    pytest.importorskip("fcntl", reason="this system has no fcntl")
    failures: list[Exception] = []

    def second(_missing: int, _found: int) -> None:
        try:
            generate_batch(generator, BatchRequest(seeds=range(2)), tmp_path)
        except ConfigError as error:
            failures.append(error)

    generate_batch(generator, BatchRequest(seeds=range(2)), tmp_path, on_start=second)
    assert len(failures) == 1
    assert "another batch is being written" in str(failures[0])


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        ({"seeds": [1, 2, 1]}, "seeds", 1),
        ({"seeds": parse_seeds("0-5,3")}, "seeds", 3),
        ({"seeds": [2**32]}, "seed", 2**32),
        ({"seeds": range(-1, 3)}, "seed", -1),
        ({"options": GenerationOptions(psi=1.5)}, "psi", 1.5),
        ({"format": "bmp"}, "format", "bmp"),
        ({"format": "tar", "shard_size": 0}, "shard_size", 0),
        ({"shard_size": 5}, "shard_size", 5),
        ({"options": GenerationOptions(sliders={"L9N0D0": 1.0})}, "sliders", "L9N0D0"),
    ],
)
def test_wrong_requests_touch_nothing(
    generator: Generator,
    tmp_path: Path,
    arguments: dict[str, Any],
    field: str,
    value: object,
    raises_error: RaisesError,
) -> None:
    with raises_error(ConfigError, field=field, value=value):
        generate_batch(generator, BatchRequest(**{"seeds": [0], **arguments}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_sizes_below_one_are_refused(
    generator: Generator, tmp_path: Path, raises_error: RaisesError
) -> None:
    with raises_error(ConfigError, field="batch_size", value=0, expected="1 or more"):
        GenerationOptions(batch_size=0)
    with raises_error(ConfigError, field="workers", value=0, expected="1 or more"):
        generate_batch(generator, BatchRequest(seeds=[0]), tmp_path, workers=0)


def test_no_seeds_make_no_images(generator: Generator, tmp_path: Path) -> None:
    result = generate_batch(generator, BatchRequest(seeds=[]), tmp_path)
    assert (result.requested, result.written) == (0, 0)


def test_a_file_in_place_of_the_folder(generator: Generator, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="there is a file where a folder is expected"):
        generate_batch(generator, BatchRequest(seeds=range(3)), tmp_path / "out")
    with pytest.raises(OutputError, match="there is a file where a folder is expected"):
        generate_batch(generator, BatchRequest(seeds=range(3)), tmp_path / "out" / "deeper")


@pytest.mark.parametrize("files", ["png", "npz", "zip", "tar"])
def test_a_folder_in_place_of_a_file(generator: Generator, tmp_path: Path, files: Any) -> None:
    name = "seed000030.png" if files == "png" else f"shard-000000.{files}"
    (tmp_path / name / "in the way").mkdir(parents=True)
    with pytest.raises((OutputError, ConfigError)):
        generate_batch(generator, BatchRequest(seeds=range(40), format=files), tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


class _FullDisk(io.BytesIO):
    """A file on a disk that has room for some more bytes."""

    room = 0

    def write(self, data: Any) -> int:
        _FullDisk.room -= len(memoryview(data).cast("B"))
        if _FullDisk.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


@pytest.mark.parametrize("files", ["png", "npz", "zip", "tar"])
@pytest.mark.parametrize("room", [0, 1_000, 20_000])
def test_a_full_disk_is_one_clear_error(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Any, room: int
) -> None:
    _FullDisk.room = room

    def open_full(path: Path, mode: str) -> Any:
        path.touch()
        return _FullDisk()

    monkeypatch.setattr(files_module, "open", open_full, raising=False)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(_FullDisk, "fileno", lambda _: 0)
    with pytest.raises(OutputError, match="the disk is full") as caught:
        generate_batch(
            generator, BatchRequest(seeds=range(200), options=FOUR, format=files), tmp_path
        )
    assert str(tmp_path) in str(caught.value)
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]
    monkeypatch.undo()


class _Instant:
    """A generator that computes in no time, and counts its images."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self.computed = 0
        self.progress = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)

    def batches(
        self, chunks: Iterable[list[int]], settings: Settings
    ) -> Iterator[tuple[list[int], NDArray[np.uint8]]]:
        for chunk in chunks:
            self.computed += len(chunk)
            self.progress.set()
            yield chunk, np.zeros((len(chunk), 16, 16, 3), np.uint8)

    def wait_until_it_stands_still(self) -> None:
        while self.progress.wait(timeout=0.5):
            self.progress.clear()


@pytest.mark.parametrize("files", ["png", "tar"])
def test_computation_waits_for_slow_writing(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Any
) -> None:
    instant, written, in_flight = _Instant(generator), 0, []

    def write_one() -> None:
        # The first images take until nothing more is computed, the others no time.
        nonlocal written
        if written < 3:
            instant.wait_until_it_stands_still()
            in_flight.append(instant.computed - written)
        written += 1

    @contextlib.contextmanager
    def open_slow_shard(*_: object) -> Iterator[Callable[[int, bytes], None]]:
        yield lambda _seed, _payload: write_one()

    monkeypatch.setattr(batch_module, "open_shard", open_slow_shard)
    generate_batch(
        cast(Generator, instant),
        BatchRequest(seeds=range(300), options=FOUR, format=files),
        tmp_path,
        on_written=lambda _images: write_one() if files == "png" else None,
    )
    assert written == 300
    # Two batches wait in the queue, one is being handed over, one is computed; one image is
    # being written. The first batch computes one image more, to check the options.
    assert max(in_flight) <= 4 * 4 + 2
    assert min(in_flight) >= 2 * 4  # and the queue is used


def test_seeds_are_read_lazily(generator: Generator, tmp_path: Path) -> None:
    # A list of four billion seeds would not fit: only ranges are kept.
    request = BatchRequest(seeds=parse_seeds("0-4294967295"), format="tar", shard_size=10**9)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        generate_batch(_break_after(generator, 3), request, tmp_path)
    assert time.monotonic() - started < 5


def test_an_error_of_the_backend_comes_through(generator: Generator, tmp_path: Path) -> None:
    failing = cast(Generator, _Failing(generator, 3, MemoryError("no room")))
    for files in itertools.chain(("png", "npz", "zip", "tar")):
        request = BatchRequest(seeds=range(50), options=FOUR, format=cast(Any, files))
        with pytest.raises(MemoryError):
            generate_batch(failing, request, tmp_path / files)


def test_an_error_of_the_callback_comes_through(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_images: int) -> None:
        raise RuntimeError("callback")

    with pytest.raises(RuntimeError, match="callback"):
        generate_batch(generator, BatchRequest(seeds=range(99)), tmp_path, on_written=fail)

    def cannot(*_: object) -> bytes:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(batch_module, "encode_image", cannot)
    with pytest.raises(OSError, match="input/output"):
        generate_batch(generator, BatchRequest(seeds=range(99, 200)), tmp_path)


def test_transparency_is_not_written_as_jpeg(generator: Generator, tmp_path: Path) -> None:
    class _Rgba:
        image_shape = (16, 16, 4)

        def __getattr__(self, name: str) -> Any:
            return getattr(generator, name)

    with pytest.raises(ConfigError, match="jpeg cannot hold the transparency"):
        generate_batch(
            cast(Generator, _Rgba()), BatchRequest(seeds=[0], format="jpeg"), tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()
