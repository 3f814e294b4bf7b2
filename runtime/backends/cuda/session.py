"""ONNX Runtime on an NVIDIA GPU, with tensors that stay on the device between graphs."""

from __future__ import annotations

import contextlib
import ctypes
import io
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segan.runtime.backends.onnxruntime import OrtSession, first_line, runtime_errors
from segan.runtime.backends.session import Session, SessionConfig
from segan.runtime.errors import BackendError
from segan.runtime.machine.gpus import why_no_gpu

#: What puts the right packages in place, whatever is there.
INSTALL = (
    "Run: pip uninstall -y onnxruntime onnxruntime-gpu, then: "
    "pip install 'onnxruntime-gpu[cuda,cudnn]'"
)

#: What the provider loads on Linux, and the package that holds it; {cuda} is CUDA's major version.
_LIBRARIES = {
    "libcudart.so.{cuda}": "CUDA",
    "libcublasLt.so.{cuda}": "cuBLAS",
    "libcublas.so.{cuda}": "cuBLAS",
    "libcurand.so.10": "cuRAND",
    "libcudnn.so.9": "cuDNN 9",
}


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a session computes.

    Attributes:
        provider: ONNX Runtime's name of what computes.
        device: its name of the memory that tensors stay in.
    """

    provider: str
    device: str


GPU = Placement(provider="CUDAExecutionProvider", device="cuda")

#: The same steps in the main memory, which is how they are tested without a GPU.
HOST = Placement(provider="CPUExecutionProvider", device="cpu")


@dataclass(frozen=True, kw_only=True)
class DeviceTensor:
    """A tensor in a device's memory.

    Attributes:
        value: ONNX Runtime's OrtValue.
        dtype: the numpy type.
        shape: its sizes.
    """

    value: Any
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def numpy(self) -> NDArray[Any]:
        """A copy in the main memory."""
        array: NDArray[Any] = self.value.numpy()
        return array


def why_not() -> str | None:
    """Why the CUDA backend cannot work here, with what to do; None where it seems to."""
    problem = why_no_gpu()
    if problem is not None:
        return f"backend 'cuda' needs an NVIDIA GPU, but {problem}."
    return _package_problem() or _library_problem()


def _package_problem() -> str | None:
    """What is wrong with the installed onnxruntime; both packages own one and the same module."""
    plain, gpu = _installed("onnxruntime"), _installed("onnxruntime-gpu")
    if plain and gpu:
        return (
            f"backend 'cuda' needs onnxruntime-gpu alone: it ({gpu}) and onnxruntime ({plain}) are "
            f"both installed and overwrite each other's files. {INSTALL}"
        )
    try:
        import onnxruntime

        providers = onnxruntime.get_available_providers()
    except (ImportError, AttributeError) as error:
        return (
            f"backend 'cuda' needs onnxruntime-gpu, which cannot be imported ({error}). {INSTALL}"
        )
    if GPU.provider not in providers:
        return (
            "backend 'cuda' needs onnxruntime-gpu, which is not installed: the onnxruntime here "
            f"({onnxruntime.__version__}) is built without CUDA. {INSTALL}"
        )
    return None


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _library_problem() -> str | None:
    """Which of the libraries that the provider loads are missing; None also where nobody knows."""
    import onnxruntime

    cuda = str(getattr(onnxruntime, "cuda_version", "") or "").partition(".")[0]
    if sys.platform != "linux" or not cuda:
        return None
    _preload(onnxruntime)
    missing = dict[str, str]()
    for pattern, package in _LIBRARIES.items():
        name = pattern.format(cuda=cuda)
        try:
            ctypes.CDLL(name)
        except OSError:
            missing[name] = package
    if not missing:
        return None
    packages = ", ".join(dict.fromkeys(missing.values()))
    return (
        f"backend 'cuda' needs {packages} for CUDA {cuda}; not found: {', '.join(missing)}. "
        "Run: pip install 'onnxruntime-gpu[cuda,cudnn]'"
    )


def _preload(onnxruntime: Any) -> None:
    """Loads the libraries that pip put beside ONNX Runtime, where the loader does not look."""
    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is not None:
        # It prints what it does not find; that is told by _library_problem.
        with contextlib.redirect_stdout(io.StringIO()):
            preload()


def provider_options(config: SessionConfig) -> dict[str, str]:
    """The CUDA provider's settings."""
    return {
        "device_id": "0",
        # Batches of one size need the same memory again and again; doubling would waste up to half.
        "arena_extend_strategy": "kSameAsRequested",
        # Every algorithm is timed at the first batch of a size, unless memory is short.
        "cudnn_conv_algo_search": "HEURISTIC" if config.low_memory else "EXHAUSTIVE",
        "cudnn_conv_use_max_workspace": "0" if config.low_memory else "1",
        "do_copy_in_default_stream": "1",
        # TF32 keeps 10 bits of the mantissa, which is not fp32; fp16 graphs have fp32 parts too.
        "use_tf32": "0",
    }


def open_graph(model_bytes: bytes, *, name: str, config: SessionConfig) -> Session:
    """Loads a graph; see ``CudaSession``."""
    return CudaSession(model_bytes, name=name, config=config)


class CudaSession(OrtSession):
    """One graph on ONNX Runtime's CUDAExecutionProvider, all of it.

    Args:
        model_bytes: the serialized model, with its weights inside.
        name: what the graph is, for messages.
        config: how to compute. ``throughput`` and ``cache`` change nothing.
        placement: where; ``HOST`` for tests.

    Raises:
        BackendError: no GPU, a package or library is missing, ONNX Runtime would compute elsewhere,
            memory ran out, or it cannot load the model.

    Attributes:
        placement: where it computes.
    """

    backend = "cuda"

    def __init__(
        self,
        model_bytes: bytes,
        *,
        name: str,
        config: SessionConfig | None = None,
        placement: Placement = GPU,
    ) -> None:
        config = config or SessionConfig()
        # No node runs on the processor, so a pool of threads there would only lie about.
        config = replace(config, threads=config.threads or 1)
        self.placement = placement
        problem = why_not() if placement is GPU else None
        if problem is not None:
            raise BackendError(problem)
        settings = provider_options(config) if placement is GPU else {}
        super().__init__(
            model_bytes, name=name, config=config, provider=(placement.provider, settings)
        )
        check_provider(self._session.get_providers(), placement, name)

    def _load_problem(self, error: Exception) -> str:
        if "assigned to the default CPU EP" in str(error):
            # Nothing else is asked for, so either the provider or one of its nodes is missing.
            return _elsewhere(self.name, _provider_problem())
        return super()._load_problem(error)

    def place(self, array: NDArray[Any]) -> DeviceTensor:
        """Copies an array to the device.

        Raises:
            BackendError: the device's memory ran out.
        """
        from onnxruntime import OrtValue

        try:
            value = OrtValue.ortvalue_from_numpy(
                np.ascontiguousarray(array), self.placement.device, 0
            )
        except runtime_errors() as error:
            raise self._failure(error, len(array)) from None
        return DeviceTensor(value=value, dtype=array.dtype, shape=array.shape)

    def run_on_device(
        self, feeds: Mapping[str, NDArray[Any] | DeviceTensor]
    ) -> dict[str, DeviceTensor]:
        """Computes the graph and leaves the results on the device.

        Args:
            feeds: as for ``run``; what lies on the device already stays there.

        Returns:
            A tensor for each output.

        Raises:
            ConfigError: a missing or unknown input, a wrong dtype or shape.
            BackendError: the backend failed, memory ran out, or the session is closed.
        """
        batch = self._begin(feeds)
        placed = {
            name: tensor if isinstance(tensor, DeviceTensor) else self.place(tensor)
            for name, tensor in feeds.items()
        }
        try:
            binding = self._session.io_binding()
            for name, tensor in placed.items():
                binding.bind_ortvalue_input(name, tensor.value)
            for spec in self.outputs:
                binding.bind_output(spec.name, self.placement.device, 0)
            # Returns when the device is done.
            self._session.run_with_iobinding(binding)
            values = binding.get_outputs()
        except runtime_errors() as error:
            raise self._failure(error, batch) from None
        results = {
            spec.name: DeviceTensor(value=value, dtype=spec.dtype, shape=tuple(value.shape()))
            for spec, value in zip(self.outputs, values, strict=True)
        }
        self._check_outputs(results, batch)
        return results


def check_provider(found: list[str], placement: Placement, name: str) -> None:
    """Makes sure that what was asked for is what computes.

    Args:
        found: ``get_providers()`` of a session, best first.
        placement: what was asked for.
        name: of the graph, for the message.

    Raises:
        BackendError: something else would compute.
    """
    if found[:1] != [placement.provider]:
        raise BackendError(_elsewhere(name, _provider_problem()))


def _elsewhere(name: str, reason: str | None) -> str:
    because = f": {reason}" if reason else ", and does not say why."
    return (
        f"ONNX Runtime would compute the {name} graph on the CPU, not on the GPU{because} "
        "Nothing was computed. See what is missing with: segan doctor, or pass --backend cpu."
    )


def _provider_problem() -> str | None:
    """Why the provider's own library does not load; None where it does or lies elsewhere."""
    import onnxruntime

    library = Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    if not library.is_file():
        return None
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        # 'undefined symbol' only says that it was not loaded by ONNX Runtime.
        missing = re.search(r"[\w.+-]+\.so[\w.]*(?=: cannot open)", str(error))
        return f"{missing[0]} is missing." if missing else first_line(error)
    return None
