from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segan.runtime.batch.pipeline import generate_batch
from segan.runtime.batch.plan import BatchRequest
from segan.runtime.errors import ConfigError, DataError
from segan.runtime.files.arrays import decode_npy, read_arrays
from segan.runtime.generate.generator import Generator, load
from segan.runtime.latents.files import Latents, is_tensor_file, join_latents, read_latents
from segan.runtime.latents.options import GenerationOptions

if TYPE_CHECKING:
    from tests.conftest import RaisesError
    from tests.runtime.conftest import Oracle

SITES = 8  # of the toy, 16²: b4.conv1, b4.to_rgb, b8.conv0, b8.conv1, b8.to_rgb, ...
#: NVIDIA's row of each site, from its synthesis loop: a to_rgb has the next convolution's.
NVIDIA_ROWS = [0, 1, 1, 2, 3, 3, 4, 5]


@pytest.fixture
def toy(toy_bundle: Path) -> Generator:
    return load(toy_bundle)


def random(*shape: int) -> NDArray[np.float32]:
    return np.random.RandomState(3).randn(*shape).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("w", (8,), lambda v: np.tile(v, (1, SITES, 1))),
        ("w", (3, 8), lambda v: np.repeat(v[:, None], SITES, 1)),
        ("w", (6, 8), lambda v: np.repeat(v[:, None], SITES, 1)),
        ("projected_w", (1, 1, 8), lambda v: np.repeat(v, SITES, 1)),
        ("w", (1, 6, 8), lambda v: v[:, NVIDIA_ROWS]),
        ("w", (1, 1, 6, 8), lambda v: v[0][:, NVIDIA_ROWS]),
        ("ws", (2, SITES, 8), lambda v: v),
        ("latent", (6, 8), lambda v: v[None, NVIDIA_ROWS]),
        ("anything", (2, 8), lambda v: np.repeat(v[:, None], SITES, 1)),
    ],
)
def test_shapes(
    toy: Generator, tmp_path: Path, name: str, shape: tuple[int, ...], expected: Callable[..., Any]
) -> None:
    values = random(*shape)
    np.savez(tmp_path / "a.npz", **{name: values})  # type: ignore[arg-type]
    found = read_latents(tmp_path / "a.npz", toy.manifest)
    np.testing.assert_array_equal(found.w, expected(values))
    assert found.w.dtype == np.float32
    doubled: dict[str, Any] = {name: values.astype(np.float64)}
    np.savez_compressed(tmp_path / "b.npz", **doubled)
    np.testing.assert_array_equal(read_latents(tmp_path / "b.npz", toy.manifest).w, found.w)


def test_npy_and_fortran_order(toy: Generator, tmp_path: Path) -> None:
    values = random(3, SITES, 8)
    np.save(tmp_path / "a.npy", np.asfortranarray(values))
    np.testing.assert_array_equal(read_latents(tmp_path / "a.npy", toy.manifest).w, values)


def test_images_are_the_oracles(
    toy: Generator, oracle: Oracle, same_images: Callable[..., None]
) -> None:
    w = random(3, SITES, 8)
    latents = Latents(w)
    zero = np.zeros((3, 3, 6))
    w64 = w.astype(np.float64)
    same_images(toy.generate([0, 2], latents=latents), oracle.image(w64[[0, 2]], coords=zero[:2]))
    moved = zero[:1].copy()
    moved[0, 1, 2] = 1.5
    found = toy.generate([1], latents=latents, sliders={"L1N0D2": 1.5}, psi=0.5)
    same_images(found, oracle.image(w64[1:2], coords=moved, psi=0.5))

    swept = toy.sweep(1, 1, 2, values=[0, 1.5], latents=latents)
    same_images(swept, oracle.image(w64[[1, 1]], coords=np.concatenate([zero[:1], moved])))

    # Layer 0 has the sites 0 and 1.
    crossed = w64[0].copy()
    crossed[:2] = w64[2, :2]
    mixed = toy.mix([0], [2], layers="0", cols_from="latents", latents=latents)
    same_images(mixed[0], oracle.image(crossed[None], coords=zero[:1]))
    crossed[:2] = oracle.w(oracle.z([7]))[0]
    coords = zero[:1].copy()
    coords[0, 0] = oracle.coords([7])[0, 0]
    mixed = toy.mix([0], [7], layers="0", latents=latents)
    same_images(mixed[0], oracle.image(crossed[None], coords=coords))

    frames = np.stack(list(toy.interpolate([0, 1], 2, latents=latents)))
    walk = np.stack([w64[0], (w64[0] + w64[1]) / 2, w64[1]])
    same_images(frames, oracle.image(walk, coords=zero))


def test_stored_coords(toy: Generator, oracle: Oracle, tmp_path: Path) -> None:
    w, coords = random(2, SITES, 8), random(2, 2, 5)
    np.savez(tmp_path / "a.npz", w=w, coords=coords)
    found = read_latents(tmp_path / "a.npz", toy.manifest)
    assert found.coords is not None
    np.testing.assert_array_equal(found.coords[:, :2, :5], coords)
    assert not found.coords[:, 2:].any()
    both = toy.generate([1], latents=found)
    assert (both != toy.generate([1], latents=found, coords="zero")).any()
    joined = join_latents([Latents(w), found], toy.manifest)
    np.testing.assert_array_equal(toy.generate([3], latents=joined), both)
    np.savez(tmp_path / "a.npz", w=w, coords=random(2, 4, 5))
    with pytest.raises(DataError, match=r"\[2, 4, 5\]; expected .*\[2, 3, 6\]") as caught:
        read_latents(tmp_path / "a.npz", toy.manifest)
    assert (caught.value.field, caught.value.value) == ("latents", str(tmp_path / "a.npz"))


def test_a_conditional_bundle_needs_no_class(
    toy_bundle_zip: Path, raises_error: RaisesError
) -> None:
    generator = load(toy_bundle_zip)
    latents = Latents(random(1, generator.manifest.num_sites, 8))
    assert generator.generate([0], latents=latents).shape == (1, 16, 16, 1)
    with raises_error(ConfigError, field="class_index", value=None):
        generator.mix([0], [1], layers="0", cols_from="seeds", latents=latents)


def test_a_batch_of_latents_is_another_batch(
    toy: Generator, tmp_path: Path, raises_error: RaisesError
) -> None:
    one, two = Latents(random(2, SITES, 8)), Latents(random(3, SITES, 8) * 2)

    def request(latents: Latents | None) -> BatchRequest:
        return BatchRequest(seeds=range(2), options=GenerationOptions(latents=latents))

    result = generate_batch(toy, request(one), tmp_path / "out")
    assert result.written == 2
    again = generate_batch(toy, request(one), tmp_path / "out")
    assert (again.written, again.found) == (0, 2)
    for other in (None, two):
        with raises_error(ConfigError, field="out", problem="latents is"):
            generate_batch(toy, request(other), tmp_path / "out")


def test_wrong_use(toy: Generator, raises_error: RaisesError) -> None:
    latents = Latents(random(2, SITES, 8))
    with raises_error(ConfigError, field="seed", value=2, expected="0 to 1"):
        toy.generate([2], latents=latents)
    with raises_error(ConfigError, field="latents", value=(1, 7, 8), expected="[N, 8, 8]"):
        toy.generate([0], latents=Latents(random(1, 7, 8)))
    with raises_error(ConfigError, field="w", value=(0, 8, 8)):
        Latents(random(0, 8, 8))
    with raises_error(ConfigError, field="space", value="z", expected="`space w`"):
        toy.interpolate([0, 1], 2, space="z", latents=latents)


@pytest.mark.parametrize(
    ("arrays", "problem", "expected"),
    [
        ({"w": np.zeros((1, 18, 512))}, "w is float64 [1, 18, 512]", "[N, 8], [N, 6, 8]"),
        ({"w": np.zeros((1, 5, 8))}, "w is float64 [1, 5, 8]", "[N, 8], [N, 6, 8]"),
        ({"w": np.zeros((0, 8))}, "w is float64 [0, 8]", "numbers"),
        ({"w": np.full((1, 8), np.inf)}, "w", ""),
        ({"w": np.array(["text"])}, "w is <U4 [1]", "numbers"),
        ({"w": np.array([{}], object)}, "", ""),
        ({"a": np.zeros(8), "b": np.zeros(8)}, "a, b", "projected_w"),
    ],
)
def test_bad_arrays(
    toy: Generator, tmp_path: Path, arrays: dict[str, NDArray[Any]], problem: str, expected: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError) as caught:
        read_latents(tmp_path / "a.npz", toy.manifest)
    assert problem in caught.value.problem
    assert expected in caught.value.expected
    assert str(tmp_path / "a.npz") in str(caught.value)


def test_damaged_files(toy: Generator, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", w=random(4, 8))
    np.save(tmp_path / "a.npy", random(4, 8))
    for name in ("a.npz", "a.npy"):
        data = (tmp_path / name).read_bytes()
        for percent in range(0, 100, 3):
            (tmp_path / "cut").write_bytes(data[: len(data) * percent // 100])
            with pytest.raises(DataError):
                read_latents(tmp_path / "cut", toy.manifest)
    with pytest.raises(DataError, match="does not exist"):
        read_latents(tmp_path / "none.npz", toy.manifest)
    with pytest.raises(DataError, match="expected a file of at most"):
        read_latents(tmp_path, toy.manifest)
    with zipfile.ZipFile(tmp_path / "empty.npz", "w"):
        pass
    with pytest.raises(DataError, match="no arrays"):
        read_arrays(tmp_path / "empty.npz")


def test_a_header_that_promises_too_much() -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 8)}
    )
    with pytest.raises(DataError, match="truncated"):
        decode_npy(stream.getvalue() + bytes(64), "it")


def test_tensor_files_are_told_by_content(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"\x80\x02}q\x00.")
    assert is_tensor_file(tmp_path / "a.npz")
    np.savez(tmp_path / "b.pt.npz", w=random(8))
    assert not is_tensor_file(tmp_path / "b.pt.npz")
    assert not is_tensor_file(tmp_path / "none")
