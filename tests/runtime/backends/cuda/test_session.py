"""The CUDA backend: its steps in the main memory, and what it says when something is missing."""

from __future__ import annotations

import ctypes
import io
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from segan.runtime import load
from segan.runtime.backends.choose import candidates, open_session
from segan.runtime.backends.cuda import session as cuda
from segan.runtime.backends.cuda.graphs import CudaGraphs
from segan.runtime.backends.cuda.session import GPU, HOST, CudaSession, DeviceTensor, check_provider
from segan.runtime.backends.session import SessionConfig
from segan.runtime.batch.pipeline import generate_batch
from segan.runtime.batch.plan import BatchRequest
from segan.runtime.errors import BackendError, ConfigError
from segan.runtime.generate.generator import Generator
from segan.runtime.latents.inputs import GraphInputs
from segan.runtime.latents.options import GenerationOptions
from segan.runtime.machine.gpus import why_no_gpu

DATA = Path(__file__).parents[3] / "data"
CONFIG = SessionConfig(threads=1)
no_gpu = pytest.mark.skipif(why_no_gpu() is None, reason="there is a GPU here")


@pytest.fixture
def on_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that asks for CUDA computes in the main memory, by the same steps."""

    monkeypatch.setattr(CudaSession, "placement", HOST)
    monkeypatch.setattr(CudaSession, "why_not", staticmethod(lambda: None))


@pytest.fixture(params=["toy.segan", "toy_shifts.segan", "toy_plain.segan"])
def pair(request: pytest.FixtureRequest, on_host: None) -> Iterator[tuple[Generator, Generator]]:
    """One bundle on the CUDA backend's steps and on the CPU backend."""
    path = DATA / request.param
    with load(path, "cuda", threads=1) as device, load(path, "cpu", threads=1) as host:
        yield device, host


# The same images as on the CPU backend.


def _options(generator: Generator) -> dict[str, Any]:
    return {"class_index": 1} if generator.manifest.c_dim else {}


def test_images_are_those_of_the_cpu_backend(pair: tuple[Generator, Generator]) -> None:
    device, host = pair
    assert (device.backend, device.precision) == ("cuda", "fp32")
    assert isinstance(device._graphs, CudaGraphs)
    for extra in ({}, {"psi": 0.5, "coords": "zero"}, {"cutoff": 8, "psi": 0.3}):
        options = {**_options(host), **extra}
        for batch_size in (1, 3, 16):
            found = device.generate(range(5), batch_size=batch_size, **options)
            np.testing.assert_array_equal(found, host.generate(range(5), batch_size=5, **options))


@pytest.mark.parametrize("noise", ["const", "random", "none"])
def test_every_kind_of_noise(on_host: None, toy_bundle: Path, noise: Any) -> None:
    with load(toy_bundle, "cuda", threads=1) as device, load(toy_bundle, "cpu") as host:
        np.testing.assert_array_equal(
            device.generate(range(4), noise=noise), host.generate(range(4), noise=noise)
        )


def test_edits_are_those_of_the_cpu_backend(on_host: None, toy_bundle: Path) -> None:
    with load(toy_bundle, "cuda", threads=1) as device, load(toy_bundle, "cpu") as host:
        slider = host.manifest.subspaces[0]
        where = (slider.layer, 0)
        np.testing.assert_array_equal(device.sweep(7, *where), host.sweep(7, *where))
        np.testing.assert_array_equal(
            device.mix([0, 1], [2, 3], layers="0"), host.mix([0, 1], [2, 3], layers="0")
        )
        for found, expected in zip(
            device.interpolate([0, 5], 3), host.interpolate([0, 5], 3), strict=True
        ):
            np.testing.assert_array_equal(found, expected)
        ws, shifts = device.style(device.map(np.ones((2, device.manifest.z_dim), np.float32)))
        assert device.synthesize(ws, shifts).dtype == np.float32


def test_a_batch_of_files_is_that_of_the_cpu_backend(
    on_host: None, toy_bundle: Path, tmp_path: Path
) -> None:
    for backend in ("cuda", "cpu"):
        with load(toy_bundle, backend, threads=1) as generator:
            request = BatchRequest(seeds=range(11), options=GenerationOptions(batch_size=4))
            generate_batch(generator, request, tmp_path / backend)
    names = sorted(path.name for path in (tmp_path / "cpu").glob("*.png"))
    assert len(names) == 11
    for name in names:
        assert (tmp_path / "cuda" / name).read_bytes() == (tmp_path / "cpu" / name).read_bytes()


# Nothing is taken from the device but pixels.


def test_only_pixels_leave_the_device(
    on_host: None, toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with load(toy_bundle, "cuda", threads=1) as generator:
        copied: list[tuple[np.dtype[Any], tuple[int, ...]]] = []
        whole = DeviceTensor.numpy

        def numpy(self: DeviceTensor) -> Any:
            copied.append((self.dtype, self.shape))
            return whole(self)

        monkeypatch.setattr(DeviceTensor, "numpy", numpy)
        generator.generate(range(3))
    assert copied == [
        (np.dtype(np.float32), (3,)),
        (np.dtype(np.uint8), (3, *generator.image_shape)),
    ]


def test_results_stay_where_they_were_computed() -> None:
    session = CudaSession(
        (DATA / "toy.segan" / "mapping.onnx").read_bytes(), name="mapping", placement=HOST
    )
    z = np.random.RandomState(0).randn(5, 8).astype(np.float32)
    there = session.run_on_device({"z": session.place(z)})["w"]
    assert (there.shape, there.dtype) == ((5, 8), np.dtype(np.float32))
    assert there.value.device_name() == "cpu"
    np.testing.assert_array_equal(there.numpy(), session.run({"z": z})["w"])
    with pytest.raises(ConfigError) as error:
        session.run_on_device({"z": session.place(z[:, :7])})
    assert (error.value.field, error.value.value) == ("z", "float32 [5, 7]")
    assert error.value.expected == "z float32 [N, 8] with N of 1 or more"
    session.close()
    with pytest.raises(BackendError, match="closed"):
        session.run_on_device({"z": z})


def test_wrong_inputs_are_refused_as_on_the_cpu(pair: tuple[Generator, Generator]) -> None:
    device, host = pair
    manifest = device.manifest
    z = np.zeros((2, manifest.z_dim), np.float32)
    w = np.zeros((2, manifest.w_dim), np.float32)
    for inputs in (
        GraphInputs(),
        GraphInputs(z=z[0]),
        GraphInputs(z=z[:, 1:]),
        GraphInputs(w=w[:, 1:]),
        GraphInputs(w=w, psi=[0.5, 0.5]),
        GraphInputs(w=w, coords=np.ones((2, 1, 99))),
    ):
        messages = []
        for generator in (device, host):
            with pytest.raises(ConfigError) as caught:
                generator._graphs.images(inputs)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]


def test_values_that_are_not_finite_are_told(on_host: None, toy_bundle: Path) -> None:
    with load(toy_bundle, "cuda", threads=1) as generator:
        w = np.zeros((3, generator.manifest.w_dim), np.float32)
        w[1] = np.nan
        with pytest.raises(BackendError, match="not finite"):
            generator._graphs.images(GraphInputs(w=w))


# Running ahead.


def _inputs(generator: Generator, count: int) -> list[GraphInputs]:
    random = np.random.RandomState(0)
    return [GraphInputs(w=random.randn(2, generator.manifest.w_dim)) for _ in range(count)]


def test_the_stream_keeps_the_order_and_runs_two_ahead(on_host: None, toy_bundle: Path) -> None:
    with load(toy_bundle, "cuda", threads=1) as generator:
        batches = _inputs(generator, 7)
        expected = [generator._graphs.images(inputs) for inputs in batches]
        taken = 0

        def counted() -> Iterator[GraphInputs]:
            nonlocal taken
            for inputs in batches:
                taken += 1
                yield inputs

        for number, images in enumerate(generator._graphs.stream(counted())):
            np.testing.assert_array_equal(images, expected[number])
            assert taken <= number + 2
        assert taken == 7


def test_an_abandoned_stream_leaves_no_thread(on_host: None, toy_bundle: Path) -> None:
    with load(toy_bundle, "cuda", threads=1) as generator:
        before = threading.active_count()
        stream = generator._graphs.stream(_inputs(generator, 5))
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert threading.active_count() == before


def test_an_error_reaches_the_caller_in_its_turn(on_host: None, toy_bundle: Path) -> None:
    with load(toy_bundle, "cuda", threads=1) as generator:
        batches = _inputs(generator, 4)
        batches[2] = GraphInputs(w=np.full((1, generator.manifest.w_dim), np.nan))
        stream = generator._graphs.stream(batches)
        next(stream)
        next(stream)
        with pytest.raises(BackendError, match="not finite"):
            next(stream)


def test_threads_may_share_it(on_host: None, toy_bundle: Path) -> None:
    with load(toy_bundle, "cuda", threads=1) as generator:
        expected = generator.generate(range(8))
        found: list[Any] = [None] * 4

        def run(number: int) -> None:
            found[number] = generator.generate(range(8), batch_size=1 + number)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for images in found:
            np.testing.assert_array_equal(images, expected)


# What computes is what was asked for.


def test_another_provider_than_asked_for_is_refused() -> None:
    check_provider(["CUDAExecutionProvider", "CPUExecutionProvider"], GPU, "mapping")
    for found in (["CPUExecutionProvider"], ["CPUExecutionProvider", "CUDAExecutionProvider"], []):
        with pytest.raises(BackendError, match="the mapping graph on the CPU, not on the GPU"):
            check_provider(found, GPU, "mapping")


@no_gpu
def test_a_session_without_the_provider_does_not_load(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    # Whatever why_not overlooks, ONNX Runtime itself must not continue with the CPU.
    monkeypatch.setattr(CudaSession, "why_not", staticmethod(lambda: None))
    model = (DATA / "toy.segan" / "mapping.onnx").read_bytes()
    with pytest.raises(BackendError, match=r"not on the GPU.*segan doctor") as error:
        CudaSession(model, name="mapping", config=CONFIG)
    assert (error.value.field, error.value.value) == ("backend", "cuda")


def test_a_failing_run_does_not_go_on_elsewhere() -> None:
    session = CudaSession(
        (DATA / "toy.segan" / "mapping.onnx").read_bytes(), name="mapping", placement=HOST
    )
    assert session._session._enable_fallback is False


def test_tf32_is_off() -> None:
    assert cuda.provider_options(SessionConfig(precision="fp32"))["use_tf32"] == "0"
    assert cuda.provider_options(SessionConfig(precision="fp16"))["use_tf32"] == "0"


@pytest.mark.parametrize(
    "words",
    [
        "Failed to allocate memory for requested buffer of size 17179869184",
        "/ort/bfc_arena.cc:376 Available memory of 1 is smaller than requested bytes of 2",
        "CUDA failure 2: out of memory ; GPU=0",
        "std::bad_alloc",
    ],
)
def test_out_of_memory_names_a_smaller_batch(words: str) -> None:
    session = CudaSession(
        (DATA / "toy.segan" / "mapping.onnx").read_bytes(), name="mapping", placement=HOST
    )

    def fail(*_: object) -> None:
        raise RuntimeError(words)

    session._session = SimpleNamespace(
        io_binding=lambda: SimpleNamespace(
            bind_ortvalue_input=lambda *_: None, bind_output=lambda *_: None
        ),
        run_with_iobinding=fail,
        run=fail,
    )
    z = np.zeros((64, 8), np.float32)
    for run in (session.run, session.run_on_device):
        with pytest.raises(BackendError, match=r"'cuda' with a batch of 64\.") as caught:
            run({"z": z})
        assert (caught.value.field, caught.value.value) == ("batch_size", 64)
        assert "`batch_size 32`" in caught.value.remedy
        with pytest.raises(BackendError) as caught:
            run({"z": z[:1]})
        assert caught.value.remedy == ""


# What is missing.


@no_gpu
def test_without_a_gpu_that_is_what_is_said(toy_bundle: Path) -> None:
    for attempt in (
        lambda: candidates("cuda"),
        lambda: load(toy_bundle, "cuda"),
        lambda: open_session(b"", "cuda", name="x"),
    ):
        with pytest.raises(BackendError, match="'cuda' needs an NVIDIA GPU, but"):
            attempt()
    assert "cuda" in candidates()[0].passed_over


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """gpu(onnxruntime's attributes, installed packages): a GPU and these packages."""

    def pretend(installed: dict[str, str], **attributes: Any) -> None:
        monkeypatch.setattr(cuda, "why_no_gpu", lambda: None)
        monkeypatch.setattr(cuda, "installed_version", installed.get)
        module = ModuleType("onnxruntime")
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, "onnxruntime", module)
        cuda._missing_libraries.cache_clear()

    return pretend


def test_onnxruntime_without_cuda(gpu: Callable[..., None]) -> None:
    gpu(
        {"onnxruntime": "1.31.1"},
        __version__="1.31.1",
        get_available_providers=lambda: ["CPUExecutionProvider"],
    )
    problem = str(CudaSession.why_not())
    assert "onnxruntime-gpu, which is not installed" in problem
    assert "1.31.1) is built without CUDA" in problem
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in problem


def test_both_packages(gpu: Callable[..., None]) -> None:
    gpu({"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.30.0"})
    problem = str(CudaSession.why_not())
    assert "(1.30.0) and onnxruntime (1.31.1) are both installed" in problem
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in problem


def test_half_a_package(gpu: Callable[..., None]) -> None:
    gpu({"onnxruntime-gpu": "1.31.1"})
    assert "cannot be imported" in str(CudaSession.why_not())


@pytest.mark.skipif(sys.platform != "linux", reason="looks for Linux libraries")
def test_missing_libraries_are_named(
    gpu: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cdll(name: str) -> object:
        if name.startswith(("libcublas", "libcudnn")):
            raise OSError(f"{name}: cannot open shared object file")
        return object()

    monkeypatch.setattr(ctypes, "CDLL", cdll)
    gpu(
        {"onnxruntime-gpu": "1.31.1"},
        cuda_version="13.0",
        get_available_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
        preload_dlls=lambda: print("Failed to load libcublas.so.13"),
    )
    problem = str(CudaSession.why_not())
    assert "needs cuBLAS, cuDNN 9 for CUDA 13, and libcublasLt.so.13, libcublas.so.13, " in problem
    assert "libcudnn.so.9 cannot be loaded. Run: pip install" in problem
    assert capsys.readouterr().out == ""

    monkeypatch.setattr(ctypes, "CDLL", lambda name: io.BytesIO())
    cuda._missing_libraries.cache_clear()
    assert CudaSession.why_not() is None
    cuda._missing_libraries.cache_clear()
