"""The TensorRT backend on the lazy GPU of fake_gpu.py."""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segan.runtime.backends.choose import candidates
from segan.runtime.backends.graphs import open_graphs
from segan.runtime.backends.session import SessionConfig
from segan.runtime.backends.tensorrt import device as cuda_memory
from segan.runtime.backends.tensorrt import library as tensorrt_api
from segan.runtime.backends.tensorrt import session as tensorrt
from segan.runtime.backends.tensorrt.build import Target, _configure
from segan.runtime.backends.tensorrt.graphs import TensorRTGraphs
from segan.runtime.backends.tensorrt.settings import EngineSettings
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.errors import BackendError, ConfigError
from segan.runtime.generate.generator import Generator, load
from segan.runtime.latents.inputs import GraphInputs

if TYPE_CHECKING:
    from tests.runtime.conftest import Oracle

Same = Callable[[NDArray[np.uint8], NDArray[np.float64]], None]
SEEDS = [3, 0, 4294967295, 7, 5, 6, 8]


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def any_card(
    request: pytest.FixtureRequest,
    fake_gpu: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    card = fake_gpu.Card(request.param)
    card.put_in(monkeypatch, tmp_path / "cache")
    return card


@pytest.fixture
def card(fake_gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    card = fake_gpu.Card("tensorrt")
    card.put_in(monkeypatch, tmp_path / "cache")
    return card


@pytest.fixture
def toy(card: Any, toy_bundle: Path) -> Iterator[Generator]:
    with load(toy_bundle, "tensorrt") as generator:
        yield generator


def _graphs(generator: Generator) -> TensorRTGraphs:
    graphs = generator._graphs
    assert isinstance(graphs, TensorRTGraphs)
    return graphs


# Images, by float64 numpy.


def test_images_of_seeds(
    any_card: Any, toy_bundle: Path, oracle: Oracle, same_images: Same
) -> None:
    image = oracle.image(oracle.w(oracle.z(SEEDS)), coords=oracle.coords(SEEDS))
    with load(toy_bundle, "tensorrt") as toy:
        assert (toy.backend, toy.precision) == ("tensorrt", "fp32")
        # Split into 4 and 3, then one batch size again and again, then single images.
        for batch_size in (7, 2, 3, 2, 1):
            same_images(toy.generate(SEEDS, batch_size=batch_size), image)
    assert any_card.trt.builds == ["mapping", "offsets", "synthesis"]


def test_psi_cutoff_and_noise(
    any_card: Any, toy_bundle: Path, oracle: Oracle, same_images: Same
) -> None:
    psi = np.array([0.5] * 5 + [1.0] * 3)
    w, coords = oracle.w(oracle.z(SEEDS)), oracle.coords(SEEDS, psi)
    noise = oracle.noise(SEEDS)
    with load(toy_bundle, "tensorrt") as toy:
        for _ in range(3):
            image = oracle.image(w, psi=psi, coords=coords, noise=noise)
            same_images(toy.generate(SEEDS, psi=0.5, cutoff=8, noise="random"), image)
            image = oracle.image(w, psi=psi, coords=coords, noise=0 * noise[:1])
            same_images(toy.generate(SEEDS, psi=0.5, cutoff=8, noise="none"), image)
            image = oracle.image(w, psi=psi, coords=coords)
            same_images(toy.generate(SEEDS, psi=0.5, cutoff=8), image)


def test_classes_and_shifts(
    any_card: Any, toy_bundle_zip: Path, oracle_shifts: Oracle, same_images: Same, tmp_path: Path
) -> None:
    w = oracle_shifts.w(oracle_shifts.z(SEEDS), 2)
    image = oracle_shifts.image(w, coords=oracle_shifts.coords(SEEDS))
    with load(toy_bundle_zip, "tensorrt") as shifts:
        for _ in range(3):
            same_images(shifts.generate(SEEDS, class_index=2), image)
    # A zip cannot be written, so that its engines lie in the user's cache.
    assert len(list((tmp_path / "cache" / "engines").glob("*.engine"))) == 3


def test_a_bundle_without_noise_and_subspaces(
    any_card: Any, toy_bundle_plain: Path, oracle_plain: Oracle, same_images: Same
) -> None:
    image = oracle_plain.image(oracle_plain.w(oracle_plain.z(SEEDS)))
    with load(toy_bundle_plain, "tensorrt") as plain:
        same_images(plain.generate(SEEDS), image)


def test_the_float_image_is_still_there(any_card: Any, toy_bundle: Path, oracle: Oracle) -> None:
    w, coords = oracle.w(oracle.z(SEEDS)), oracle.coords(SEEDS)
    with load(toy_bundle, "tensorrt") as toy:
        found_w = toy.map(oracle.z(SEEDS))
        ws, shifts = toy.style(found_w, 0.7, coords)
        assert shifts is None
        any_card.cuda.log.clear()
        found = toy.synthesize(ws)
    np.testing.assert_allclose(found_w, w, atol=1e-6)
    np.testing.assert_allclose(found, oracle.image(w, psi=0.7, coords=coords), atol=2e-6)


def test_given_w(any_card: Any, toy_bundle: Path, oracle: Oracle, same_images: Same) -> None:
    w, coords = oracle.w(oracle.z(SEEDS)), oracle.coords(SEEDS)
    mixed = np.repeat(w[:, None], 8, axis=1)
    mixed[:, 4:] = w[::-1, None]
    with load(toy_bundle, "tensorrt") as toy:
        graphs = _graphs(toy)
        for _ in range(3):
            same_images(
                graphs.images(GraphInputs(w=w, coords=coords)), oracle.image(w, coords=coords)
            )
            found = graphs.images(GraphInputs(w=mixed, coords=coords, psi=0.5))
            same_images(found, oracle.image(mixed, coords=coords, psi=0.5))


# What runs, and when.


def test_only_pixels_leave_the_card(card: Any, toy: Generator) -> None:
    toy.generate([1, 2])
    log = card.cuda.log
    # The constant noise goes up once, then latents once, and pixels come back once.
    assert log == [
        *["HostToDevice", "HostToDevice", "run mapping", "repeat", "repeat", "repeat", "repeat"],
        *["run offsets", "run synthesis", "DeviceToDevice", "DeviceToHost"],
    ]
    log.clear()
    toy.generate([3, 4])
    assert log[:2] == ["HostToDevice", "launch"]


def test_a_batch_size_that_comes_again_is_one_graph(
    card: Any, toy: Generator, oracle: Oracle, same_images: Same
) -> None:
    for repeat in range(5):
        seeds = [10 * repeat + n for n in range(3)]
        image = oracle.image(oracle.w(oracle.z(seeds)), coords=oracle.coords(seeds))
        same_images(toy.generate(seeds), image)
        same_images(toy.generate(seeds[:2]), image[:2])
    # The first of each size runs by itself, all others as a graph.
    assert card.count("launch") == 8
    assert card.count("run synthesis") == 2
    assert len(card.trt.engines["synthesis"].contexts) == 2


def test_tensorrt_for_rtx_captures_by_itself(
    fake_gpu: ModuleType, toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = fake_gpu.Card("tensorrt_rtx")
    card.put_in(monkeypatch, tmp_path / "cache")
    for _ in range(2):
        with load(toy_bundle, "tensorrt") as toy:
            for count in (3, 2, 3):
                toy.generate(range(count))
            (context,) = card.trt.engines["synthesis"].contexts
            assert context.how.cuda_graph_strategy == "whole"
    assert card.count("launch") == 0
    assert card.count("run synthesis") == 6
    # The second time it is given the kernels that it compiled the first time.
    assert card.cuda.log.count("kernels b'compiled'") == 3
    assert len(list((tmp_path / "cache" / "engines").glob("kernels-*.cache"))) == 3
    assert not list(toy_bundle.glob("engines/kernels*"))


def test_more_memory_means_new_graphs(
    card: Any, toy: Generator, oracle: Oracle, same_images: Same
) -> None:
    image = oracle.image(oracle.w(oracle.z(SEEDS)), coords=oracle.coords(SEEDS))
    for count in (1, 1, 1, 4, 1, 1, 4, 2, 4, 4, 1):
        same_images(toy.generate(SEEDS[:count]), image[:count])


def test_a_graph_that_cannot_be_captured(
    card: Any, toy: Generator, oracle: Oracle, same_images: Same
) -> None:
    card.cuda.fail["cudaGraphInstantiate"] = 900
    image = oracle.image(oracle.w(oracle.z(SEEDS)), coords=oracle.coords(SEEDS))
    for _ in range(3):
        same_images(toy.generate(SEEDS[:3]), image[:3])
    assert card.count("launch") == 0


def test_the_next_batch_is_begun_before_one_is_given(card: Any, toy: Generator) -> None:
    batches = toy.generate_batches(range(6), batch_size=2)
    next(batches)
    # Two batches were put on the streams, and one was waited for.
    assert card.count("HostToDevice") == 2 + 1  # with the constant noise
    assert card.count("DeviceToHost") == 2
    assert card.cuda.log.count("DeviceToHost") == 1
    # The first was downloaded without waiting for the second.
    assert card.cuda.log.count("DeviceToDevice") == 1
    next(batches)
    assert card.count("DeviceToHost") == 3
    assert len(list(batches)) == 1


def test_a_batch_over_the_engines_largest_is_split(card: Any, toy: Generator) -> None:
    assert toy.generate(range(10), batch_size=10).shape == (10, 16, 16, 3)
    assert card.count("DeviceToHost") == 3
    w = toy.map(np.zeros((9, 8)))
    assert w.shape == (9, 8)
    assert card.cuda.log.count("run mapping") == 3 + 3


@pytest.mark.parametrize("eager", [False, True])
def test_batches_come_in_order_whatever_their_size(
    card: Any, toy: Generator, oracle: Oracle, same_images: Same, eager: bool
) -> None:
    card.cuda.eager = eager
    sizes = [1, 6, 4, 9, 2, 2, 5]
    chunks, first = [], 0
    for size in sizes:
        chunks.append(list(range(first, first + size)))
        first += size
    found = list(toy.generate_chunks(chunks))
    for chunk, images in zip(chunks, found, strict=True):
        same_images(images, oracle.image(oracle.w(oracle.z(chunk)), coords=oracle.coords(chunk)))


def test_threads_share_it(toy: Generator, oracle: Oracle, same_images: Same) -> None:
    failed: list[BaseException] = []

    def work(start: int) -> None:
        try:
            for first in range(start, start + 20, 5):
                seeds = list(range(first, first + 5))
                image = oracle.image(oracle.w(oracle.z(seeds)), coords=oracle.coords(seeds))
                for images in toy.generate_chunks([seeds]):
                    same_images(images, image)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(100 * n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_another_batch_while_one_is_on_its_way(
    toy: Generator, oracle: Oracle, same_images: Same
) -> None:
    def image(seeds: list[int]) -> NDArray[np.float64]:
        return oracle.image(oracle.w(oracle.z(seeds)), coords=oracle.coords(seeds))

    outer = toy.generate_batches(range(4), batch_size=2)
    same_images(next(outer)[1], image([0, 1]))
    same_images(toy.generate([9, 8]), image([9, 8]))
    same_images(next(outer)[1], image([2, 3]))


def test_memory_is_given_back(card: Any, toy_bundle: Path) -> None:
    with load(toy_bundle, "tensorrt") as toy:
        toy.generate(range(9))
        toy.map(np.zeros((1, 8)))
        batches = toy.generate_batches(range(9), batch_size=2)
        next(batches)
        batches.close()  # type: ignore[attr-defined]
        assert card.cuda.used() > 0
    assert card.cuda.blocks == {}
    with pytest.raises(BackendError, match=r"closed. Load"):
        toy.generate([1])


# What goes wrong.


def test_values_that_are_not_finite(any_card: Any, toy_bundle: Path) -> None:
    w = np.zeros((3, 8), np.float32)
    w[1, 0] = np.nan
    with load(toy_bundle, "tensorrt") as toy:
        for _ in range(3):
            with pytest.raises(BackendError, match="not finite"):
                _graphs(toy).images(GraphInputs(w=w))
        assert toy.generate([1]).shape == (1, 16, 16, 3)


@pytest.mark.parametrize("room", [0, 30_000])
def test_out_of_memory_suggests_a_smaller_batch(
    card: Any, toy: Generator, room: int, raises_error: Callable[..., Any]
) -> None:
    card.cuda.limit = card.cuda.used() + room
    data = {"field": "batch_size", "value": 4, "remedy": "`batch_size 2`"}
    with raises_error(BackendError, **data):
        toy.generate(range(4))
    with raises_error(BackendError, **data):
        toy.synthesize(np.zeros((4, 8, 8)))
    card.cuda.limit = 1 << 30
    assert toy.generate(range(4)).shape == (4, 16, 16, 3)


def test_a_single_image_that_does_not_fit(card: Any, toy: Generator) -> None:
    card.cuda.limit = 0
    with pytest.raises(BackendError, match=r"enough memory for a batch of 1\. Close other"):
        toy.generate([1])


@pytest.mark.parametrize("before", [1, 2, 3])
@pytest.mark.parametrize("room", [0, 3000, 9000, 12_000])
def test_a_smaller_batch_after_memory_ran_out(
    any_card: Any, toy_bundle: Path, oracle: Oracle, same_images: Same, before: int, room: int
) -> None:
    image = oracle.image(oracle.w(oracle.z(SEEDS)), coords=oracle.coords(SEEDS))
    with load(toy_bundle, "tensorrt") as toy:
        for _ in range(before):
            same_images(toy.generate(SEEDS[:1]), image[:1])
        any_card.cuda.limit = any_card.cuda.used() + room
        with pytest.raises(BackendError, match="does not have enough memory for a batch of 4"):
            toy.generate(SEEDS[:4])
        for count in (1, 1, 1):
            same_images(toy.generate(SEEDS[:count]), image[:count])
        any_card.cuda.limit = 1 << 30
        for count in (4, 1, 4, 2, 1):
            same_images(toy.generate(SEEDS[:count]), image[:count])
    assert any_card.cuda.blocks == {}


@pytest.mark.parametrize("pins", [0, 1, 2])
@pytest.mark.parametrize("before", [0, 1])
def test_host_memory_runs_out_once(
    card: Any, toy: Generator, oracle: Oracle, same_images: Same, before: int, pins: int
) -> None:
    image = oracle.image(oracle.w(oracle.z(SEEDS)), coords=oracle.coords(SEEDS))
    for _ in range(before):
        same_images(toy.generate(SEEDS[:1]), image[:1])
    card.cuda.pins = pins
    # The first batch pins the noise, and every batch that grows pins what goes up and comes down.
    failed: list[str] = []
    for _ in range(3):
        try:
            same_images(toy.generate(SEEDS[:4]), image[:4])
        except BackendError as error:
            failed.append(str(error))
        same_images(toy.generate(SEEDS[:1]), image[:1])
    assert len(failed) == (card.cuda.pins is None)
    assert all("does not have enough memory for a batch of 4" in text for text in failed)
    assert failed or pins == 2
    same_images(toy.generate(SEEDS[:4]), image[:4])
    toy.close()
    assert card.cuda.blocks == {}


def test_host_memory_of_a_single_graph_runs_out_once(
    card: Any, toy: Generator, oracle: Oracle
) -> None:
    w = oracle.w(oracle.z(SEEDS))
    ws = np.concatenate([toy.style(w[n : n + 1])[0] for n in range(4)])
    card.cuda.pins = 0
    with pytest.raises(BackendError, match="does not have enough memory"):
        toy.style(w[:4])
    for count in (1, 4):
        np.testing.assert_allclose(toy.style(w[:count])[0], ws[:count], atol=1e-6)


@pytest.mark.parametrize("function", ["cudaMemcpyAsync", "cudaMalloc"])
def test_noise_that_did_not_get_there_is_copied_again(
    card: Any, toy: Generator, oracle: Oracle, same_images: Same, function: str
) -> None:
    image = oracle.image(oracle.w(oracle.z(SEEDS)), coords=oracle.coords(SEEDS))
    card.cuda.fail[function] = 2
    with pytest.raises(BackendError):
        toy.generate(SEEDS[:2])
    card.cuda.fail.clear()
    for _ in range(3):
        same_images(toy.generate(SEEDS[:2]), image[:2])


def test_an_error_of_cuda_is_named(card: Any, toy: Generator) -> None:
    card.cuda.fail["cudaEventSynchronize"] = 700
    with pytest.raises(BackendError, match=r"cudaEventSynchronize failed with 700. .*nvidia-smi"):
        toy.generate([1])


@pytest.mark.parametrize(
    ("inputs", "field", "value"),
    [
        ({"z": np.zeros((2, 7))}, "z", "float32 [2, 7]"),
        ({"z": np.zeros((0, 8))}, "z", "float32 [0, 8]"),
        ({"z": np.zeros((2, 8)), "labels": np.zeros((2, 1))}, "feeds", "c, z"),
        ({"w": np.zeros((2, 7))}, "w", "float32 [2, 8, 7]"),
        ({"w": 0.0}, "w", "float32 [1, 8]"),
        ({"w": np.zeros((2, 8)), "psi": np.zeros(3)}, "psi", [3]),
        ({"w": np.zeros((2, 8)), "coords": np.zeros((2, 1, 6))}, "coords", "float32 [2, 1, 6]"),
        ({"w": np.zeros((2, 8)), "noise": np.zeros((1, 5))}, "noise", "float32 [1, 5]"),
        ({"w": np.zeros((3, 8)), "noise": np.zeros((2, 656))}, "noise", 2),
    ],
)
def test_wrong_shapes(
    toy: Generator,
    inputs: dict[str, Any],
    field: str,
    value: object,
    raises_error: Callable[..., Any],
) -> None:
    with raises_error(ConfigError, field=field, value=value):
        _graphs(toy).images(GraphInputs(**inputs))


def test_an_error_comes_when_it_is_its_turn(toy: Generator) -> None:
    found = toy.generate_chunks([[1, 2], [3], [-1]])
    assert len(next(found)) == 2
    assert len(next(found)) == 1
    with pytest.raises(ConfigError, match="-1"):
        next(found)


def test_an_engine_that_the_library_refuses_is_built_again(
    card: Any, toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with load(toy_bundle, "tensorrt"):
        pass
    build = card.trt.build

    def build_anew(*args: Any, **rest: Any) -> Any:
        card.trt.refuse = None
        return build(*args, **rest)

    monkeypatch.setattr("segan.runtime.backends.tensorrt.session.build_engine", build_anew)
    card.trt.refuse = b'{"name": "offsets"'
    with load(toy_bundle, "tensorrt") as toy:
        toy.generate([1])
    assert card.trt.builds == ["mapping", "offsets", "synthesis", "offsets"]


def test_memory_that_ran_out_while_loading_is_no_reason_to_build(
    card: Any, toy_bundle: Path
) -> None:
    with load(toy_bundle, "tensorrt"):
        pass
    card.trt.refuse, card.trt.reason = b'{"name": "offsets"', "OutOfMemory (no room for 9 bytes)"
    with pytest.raises(BackendError, match="cannot load the offsets engine: the GPU does not"):
        load(toy_bundle, "tensorrt")
    assert card.trt.builds == ["mapping", "offsets", "synthesis"]


def test_a_new_engine_that_the_library_refuses(card: Any, toy_bundle: Path) -> None:
    card.trt.refuse = b'{"name": "offsets"'
    with pytest.raises(BackendError, match="cannot load the offsets engine: it is of another"):
        load(toy_bundle, "tensorrt")


def test_engines_are_loaded_the_second_time(card: Any, toy_bundle: Path, tmp_path: Path) -> None:
    for _ in range(2):
        with load(toy_bundle, "tensorrt") as toy:
            toy.generate([1])
    assert len(card.trt.builds) == 3
    assert len(list((toy_bundle / "engines").glob("*.engine"))) == 3
    with load(toy_bundle, "tensorrt", cache=tmp_path / "mine"):
        pass
    assert len(list((tmp_path / "mine").glob("*.engine"))) == 3


def test_other_settings_are_had_a_level_below(
    card: Any, toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[EngineSettings] = []

    def build(*args: Any, settings: EngineSettings, **rest: Any) -> Any:
        asked.append(settings)
        return card.trt.build(*args, **rest)

    monkeypatch.setattr(tensorrt, "build_engine", build)
    with load(toy_bundle, "tensorrt"):
        pass
    settings = EngineSettings(optimum_batch=16, maximum_batch=64)
    bundle = open_bundle(toy_bundle)
    for _ in range(2):
        graphs = open_graphs(bundle, "tensorrt", config=SessionConfig(backend_settings=settings))
        with Generator(bundle, graphs) as toy:
            assert toy.generate([1]).shape == (1, 16, 16, 3)
    assert asked == [EngineSettings()] * 3 + [settings] * 3
    assert len(list((toy_bundle / "engines").glob("*.engine"))) == 6


def test_engines_that_have_no_place(
    card: Any, toy_bundle_zip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("SEGAN_CACHE", str(tmp_path / "a file" / "cache"))
    with pytest.raises(BackendError, match="engines cannot be stored: cannot write"):
        load(toy_bundle_zip, "tensorrt")
    # With auto, the next one is taken, and it is said why.
    with load(toy_bundle_zip) as other:
        assert other.backend != "tensorrt"
        assert "cannot be stored" in other.passed_over["tensorrt"]


def test_a_library_without_strict_nans_builds_without(fake_gpu: ModuleType) -> None:
    flags: list[tuple[str, str]] = []
    config = SimpleNamespace(
        clear_flag=lambda flag: flags.append(("clear", flag)),
        set_flag=lambda flag: flags.append(("set", flag)),
    )
    target = Target(capabilities=("8.9",), gpu="NVIDIA Fake", driver="13.0")
    library = fake_gpu.Card("tensorrt").library
    for kinds in ({"TF32": "tf32"}, {"TF32": "tf32", "STRICT_NANS": "nans"}):
        library.module.BuilderFlag = SimpleNamespace(**kinds)
        _configure(library, config, EngineSettings(), target)
    assert flags == [("clear", "tf32"), ("clear", "tf32"), ("set", "nans")]


# Whether it can work.


def test_auto_takes_it_first(card: Any) -> None:
    (best, *_) = candidates("auto", "auto", ["fp32", "fp16"])
    assert (best.backend, best.precision, best.graph) == ("tensorrt", "fp16", "fp16")
    assert candidates("tensorrt", "auto", ["fp32"])[0].precision == "fp32"


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch, toy_bundle: Path) -> None:
    monkeypatch.setattr(cuda_memory, "why_no_gpu", lambda: "no NVIDIA driver is installed here")
    problem = tensorrt.TensorRTSession.why_not()
    assert problem is not None
    assert (problem.field, problem.value) == ("backend", "tensorrt")
    assert "needs an NVIDIA GPU, but no NVIDIA driver" in problem.problem
    with pytest.raises(BackendError, match="no NVIDIA driver"):
        load(toy_bundle, "tensorrt")
    with pytest.raises(BackendError, match="no NVIDIA driver"):
        tensorrt.TensorRTSession(b"", name="synthesis")
    cuda_memory.open_device.cache_clear()
    with pytest.raises(BackendError, match="no NVIDIA driver"):
        cuda_memory.open_device()


def _imports(
    monkeypatch: pytest.MonkeyPatch, fake_gpu: ModuleType, modules: dict[str, Any]
) -> None:
    def find(name: str) -> Any:
        if name not in modules:
            raise ImportError(f"No module named {name!r}")
        return modules[name]

    monkeypatch.setattr(importlib, "import_module", find)
    monkeypatch.setattr(cuda_memory, "why_no_gpu", lambda: None)
    monkeypatch.setattr(cuda_memory, "cuda_devices", lambda: [fake_gpu.CARD])


class _Bindings:
    __version__ = "13.5.0"


class _NewerBindings:
    __version__ = "14.0.0"


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        (None, r"needs cuda-bindings.*pip install 'segan\[tensorrt\]'"),
        (
            _NewerBindings,
            r"needs a driver for CUDA 14.*driver runs CUDA 13.0.*pip install 'cuda-bindings<14'",
        ),
        (_Bindings, r"needs TensorRT 10 or newer, or TensorRT for RTX.*pip install"),
    ],
)
def test_what_is_missing_is_said(
    monkeypatch: pytest.MonkeyPatch, fake_gpu: ModuleType, bindings: Any, message: str
) -> None:
    modules = {} if bindings is None else {"cuda.bindings": bindings, "cuda.bindings.runtime": None}
    _imports(monkeypatch, fake_gpu, modules)
    tensorrt_api.find_library.cache_clear()
    try:
        assert re.search(message, str(tensorrt.TensorRTSession.why_not()))
    finally:
        tensorrt_api.find_library.cache_clear()


def test_tensorrt_goes_before_tensorrt_for_rtx(
    monkeypatch: pytest.MonkeyPatch, fake_gpu: ModuleType
) -> None:
    full = fake_gpu.FakeTensorRT(None, False, 4)
    full.Builder = rtx = fake_gpu.FakeTensorRT(None, True, 4)
    rtx.Builder = object()
    found = []
    for modules in (
        {"tensorrt": full, "tensorrt_rtx": rtx},
        {"tensorrt_rtx": rtx},
        {"tensorrt_rtx_bindings": rtx},
        # An empty package of the name, as some indexes have it.
        {"tensorrt": object(), "tensorrt_rtx_bindings": rtx},
    ):
        _imports(monkeypatch, fake_gpu, modules)
        tensorrt_api.find_library.cache_clear()
        library = tensorrt_api.find_library()
        assert library is not None
        found.append((library.name, library.version))
    tensorrt_api.find_library.cache_clear()
    assert found == [("tensorrt", "10.13.3"), *[("tensorrt_rtx", "1.7.1")] * 3]
