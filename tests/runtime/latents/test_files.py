from __future__ import annotations

import hashlib
import io
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
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
        ("anything", (2, 6, 8), lambda v: v[:, NVIDIA_ROWS]),
        ("w_plus", (1, 8), lambda v: np.repeat(v[:, None], SITES, 1)),
        ("latents", (2, SITES, 8), lambda v: v),
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


def test_tensor_files_are_told_by_content(
    toy: Generator, tmp_path: Path, raises_error: RaisesError
) -> None:
    (tmp_path / "a.npz").write_bytes(b"\x80\x02}q\x00.")
    assert is_tensor_file(tmp_path / "a.npz")
    with raises_error(DataError, field="latents", problem="a file of PyTorch"):
        toy.read_latents(tmp_path / "a.npz")
    np.savez(tmp_path / "b.pt.npz", w=random(8))
    assert not is_tensor_file(tmp_path / "b.pt.npz")
    assert not is_tensor_file(tmp_path / "none")


def saved(tmp_path: Path, **arrays: Any) -> Path:
    np.savez(tmp_path / "a.npz", **arrays)
    return tmp_path / "a.npz"


@pytest.mark.parametrize(
    ("name", "space", "shape"),
    [
        ("z", None, (3, 8)),
        ("z", None, (3, 1, 8)),
        ("z", "z", (3, 8)),
        ("zs", None, (1, 3, 1, 8)),
        ("latents", "z", (3, 8)),
        ("anything", "z", (3, 8)),
        ("w", "z", (3, 8)),
    ],
)
def test_z_is_mapped(
    toy: Generator,
    oracle: Oracle,
    same_images: Callable[..., None],
    tmp_path: Path,
    name: str,
    space: Any,
    shape: tuple[int, ...],
) -> None:
    """The z of seeds as latents give the images of these seeds with coordinates of 0."""
    z = oracle.z([5, 0, 7])
    found = toy.read_latents(saved(tmp_path, **{name: z.reshape(shape)}), latent_space=space)
    assert any("mapped to w" in note for note in found.notes)
    images = toy.generate([0, 1, 2], latents=found, psi=0.7)
    np.testing.assert_array_equal(images, toy.generate([5, 0, 7], coords="zero", psi=0.7))
    same_images(images, oracle.image(oracle.w(z), coords=np.zeros((3, 3, 6)), psi=0.7))


def test_z_of_another_width_is_told_by_its_shape(tmp_path: Path, toy: Generator) -> None:
    manifest = msgspec.structs.replace(toy.manifest, z_dim=5)

    def double(z: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.repeat(z[:, :1], 8, axis=1) * 2

    values = random(2, 5)
    found = read_latents(saved(tmp_path, anything=values), manifest, map_z=double)
    np.testing.assert_array_equal(found.w[:, 3, 4], values[:, 0] * 2)
    assert found.sha256() == hashlib.sha256(values.tobytes()).hexdigest()
    values = random(2, 8)
    found = read_latents(saved(tmp_path, anything=values), manifest, map_z=double)
    np.testing.assert_array_equal(found.w[:, 3], values)


def test_z_of_a_conditional_bundle_needs_a_class(
    toy_bundle_zip: Path, tmp_path: Path, raises_error: RaisesError
) -> None:
    generator, z = load(toy_bundle_zip), random(2, 8)
    path = saved(tmp_path, z=z)
    with raises_error(ConfigError, field="class_index", value=None):
        generator.read_latents(path)
    found = generator.read_latents(path, class_index=2)
    labels = np.eye(3, dtype=np.float32)[[2, 2]]
    np.testing.assert_array_equal(found.w[:, 0], generator.map(z, labels))
    other = generator.read_latents(path, class_index=0)
    assert (other.w != found.w).any()


@pytest.mark.parametrize("name", ["anything", "latents", "arr_0"])
@pytest.mark.parametrize("shape", [(8,), (2, 8), (6, 8), (2, 1, 8)])
def test_what_may_be_z_or_w_is_refused(
    toy: Generator, tmp_path: Path, raises_error: RaisesError, name: str, shape: tuple[int, ...]
) -> None:
    path = saved(tmp_path, **{name: random(*shape)})
    with raises_error(DataError, field="latents", value=str(path), problem="may be z") as caught:
        toy.read_latents(path)
    for space in ("z", "w", "w+"):
        assert f"`latent_space {space}`" in caught.value.remedy
    np.save(tmp_path / "a.npy", random(*shape))
    with raises_error(DataError, problem="may be z"):
        toy.read_latents(tmp_path / "a.npy")
    assert len(toy.read_latents(path, latent_space="w")) == (1 if len(shape) == 1 else shape[0])


def test_rows_or_images(toy: Generator, tmp_path: Path, raises_error: RaisesError) -> None:
    six = random(6, 8)
    path = saved(tmp_path, w=six)
    found = toy.read_latents(path)
    assert len(found) == 6
    assert any("`latent_space w+` takes it as the rows" in note for note in found.notes)
    one = toy.read_latents(path, latent_space="w+")
    np.testing.assert_array_equal(one.w, six[None, NVIDIA_ROWS])
    path = saved(tmp_path, wplus=random(12, 8))
    with raises_error(DataError, problem="12 rows, num_ws of 128 x 128") as caught:
        toy.read_latents(path)
    assert "this bundle of 16 x 16" in caught.value.expected
    assert len(toy.read_latents(path, latent_space="w")) == 12
    path = saved(tmp_path, w=random(2, 6, 8))
    with raises_error(DataError, problem="w is float32 [2, 6, 8]"):
        toy.read_latents(path, latent_space="w")
    with raises_error(ConfigError, field="latent_space", value="style"):
        toy.read_latents(path, latent_space="style")  # type: ignore[arg-type]
    assert any("num_ws of 16 x 16" in note for note in toy.read_latents(path).notes)


def test_rows_of_another_generator(
    toy: Generator, tmp_path: Path, raises_error: RaisesError
) -> None:
    """Eight rows are the sites of 16 x 16, and num_ws of 32 x 32."""
    provenance = {"imported": {"num_ws": 6}}
    imported = msgspec.structs.replace(toy.manifest, provenance=provenance)
    values = random(1, SITES, 8)
    path = saved(tmp_path, w=values)
    with raises_error(DataError, field="latents", problem="num_ws of a generator of 32 x 32") as e:
        read_latents(path, imported)
    assert "16 x 16" in e.value.problem
    assert e.value.expected.startswith("6 rows")
    for found in (
        read_latents(path, imported, latent_space="w+"),
        read_latents(path, toy.manifest),
        read_latents(path.rename(tmp_path / "projected.npz"), imported),
    ):
        np.testing.assert_array_equal(found.w, values)
    assert "32 x 32" in read_latents(saved(tmp_path, w=values), toy.manifest).notes[0]
    names = np.array([site.name for site in toy.manifest.sites])
    found = read_latents(saved(tmp_path, w=values, sites=names), imported)
    assert not found.notes
    others = np.array([f"site{number}" for number in range(8)])
    with raises_error(DataError, problem="written for a generator with 8 sites, to site7"):
        read_latents(saved(tmp_path, w=values, sites=others), imported)


def test_sizes_of_both_are_named(toy: Generator, tmp_path: Path, raises_error: RaisesError) -> None:
    with raises_error(DataError, problem="z is float32 [2, 512]") as caught:
        toy.read_latents(saved(tmp_path, z=random(2, 512)))
    assert "[N, 8]" in caught.value.expected
    with raises_error(DataError, problem="w is float32 [1, 18, 512], with 18 rows"):
        toy.read_latents(saved(tmp_path, w=random(1, 18, 512)))
    with raises_error(DataError, problem="z is float32 [1, 6, 8]") as caught:
        toy.read_latents(saved(tmp_path, z=random(1, 6, 8)))
    assert "one vector for each image" in caught.value.expected


def test_many_latents_take_little_memory(toy: Generator, tmp_path: Path) -> None:
    """One w for each image is not repeated for the sites."""
    found = toy.read_latents(saved(tmp_path, w=np.zeros((100_000, 8), np.float16)))
    assert found.w.shape == (100_000, SITES, 8)
    assert found.w.strides[1] == 0


def test_hostile_arrays(toy: Generator, tmp_path: Path) -> None:
    structured = np.zeros(3, np.dtype([("w", "<f4"), ("z", "<f4")]))
    cases: dict[str, Any] = {
        "structured": structured,
        "complex": np.zeros((2, 8), np.complex64),
        "bytes": np.zeros((2, 8), np.uint8),
        "bool": np.zeros((2, 8), bool),
        "five": np.zeros((1, 1, 1, 6, 8)),
        "scalar": np.float32(3),
        "huge": np.full((1, 8), 1e300),
        "nan": np.full((1, 8), np.nan, np.float16),
    }
    for name, value in cases.items():
        with pytest.raises(DataError):
            toy.read_latents(saved(tmp_path, w=value))
        assert name
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        stream = io.BytesIO()
        np.save(stream, random(1, 8))
        for _ in range(2):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                archive.writestr("w.npy", stream.getvalue())
    with pytest.raises(DataError, match="twice"):
        toy.read_latents(tmp_path / "b.npz")
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        with zipfile.ZipFile(tmp_path / "c.npz", "w", method) as archive:
            stream = io.BytesIO()
            np.save(stream, np.zeros((1 << 21, 8)))
            archive.writestr("w.npy", stream.getvalue())
        with pytest.raises(DataError):
            toy.read_latents(tmp_path / "c.npz")


def test_a_damaged_zip_is_not_quoted_at_length(toy: Generator, tmp_path: Path) -> None:
    """The name in an entry's own header, of 30,000 bytes, differs from the directory's."""
    path = saved(tmp_path, w=np.zeros((1, 8)), **{"z" * 30_000: np.zeros(8)})
    data = path.read_bytes()
    path.write_bytes(data.replace(b"zzz", b"yyy", 1))
    with pytest.raises(DataError) as caught:
        toy.read_latents(path)
    assert len(str(caught.value)) < 600 + len(str(path))
