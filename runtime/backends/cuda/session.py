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
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segan.runtime.backends.onnxruntime import OrtSession, first_line, runtime_errors
from segan.runtime.backends.session import SessionConfig
from segan.runtime.errors import BackendError
from segan.runtime.machine.gpus import why_no_gpu
from segan.runtime.machine.packages import installed_version

#: Installs the right packages, regardless of those installed.
INSTALL = (
    "Run: pip uninstall -y onnxruntime onnxruntime-gpu, then: "
    "pip install 'onnxruntime-gpu[cuda,cudnn]'"
)

#: Libraries that the provider loads on Linux → their product; {cuda} is CUDA's major version.
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
        provider: ONNX Runtime's name of the execution provider.
        device: ONNX Runtime's name of the memory that tensors stay in.
    """

    provider: str
    device: str


GPU = Placement(provider="CUDAExecutionProvider", device="cuda")

#: The same steps in main memory, for tests without a GPU.
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
        """Return a copy in main memory."""
        array: NDArray[Any] = self.value.numpy()
        return array


def _missing(problem: str, remedy: str) -> BackendError:
    """Return the error for something that the backend needs."""
    return BackendError(
        f"backend 'cuda' needs {problem}", field="backend", value="cuda", remedy=remedy
    )


def _package_problem() -> BackendError | None:
    """Return what is wrong with the installed onnxruntime; both packages own the same module."""
    plain, gpu = installed_version("onnxruntime"), installed_version("onnxruntime-gpu")
    if plain and gpu:
        return _missing(
            f"onnxruntime-gpu alone: it ({gpu}) and onnxruntime ({plain}) are both installed and "
            "overwrite each other's files",
            INSTALL,
        )
    try:
        import onnxruntime

        providers = onnxruntime.get_available_providers()
    except (ImportError, AttributeError) as error:
        return _missing(f"onnxruntime-gpu, which cannot be imported ({error})", INSTALL)
    if GPU.provider not in providers:
        return _missing(
            "onnxruntime-gpu, which is not installed: the onnxruntime here "
            f"({onnxruntime.__version__}) is built without CUDA",
            INSTALL,
        )
    return None


@cache
def _missing_libraries() -> str | None:
    """Return which of the provider's libraries are missing; None also where that is unknown."""
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
    return f"{packages} for CUDA {cuda}, and {', '.join(missing)} cannot be loaded"


def _preload(onnxruntime: Any) -> None:
    """Load the libraries that pip installed next to ONNX Runtime, outside the search path."""
    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is not None:
        # It prints what it does not find, which _missing_libraries reports.
        with contextlib.redirect_stdout(io.StringIO()):
            preload()


def provider_options(config: SessionConfig) -> dict[str, str]:
    """Return the CUDA provider's settings."""
    return {
        "device_id": "0",
        # Batches of one size need the same memory each time; doubling would waste up to half.
        "arena_extend_strategy": "kSameAsRequested",
        # Every algorithm is timed at the first batch of a size, unless memory is short.
        "cudnn_conv_algo_search": "HEURISTIC" if config.low_memory else "EXHAUSTIVE",
        "cudnn_conv_use_max_workspace": "0" if config.low_memory else "1",
        "do_copy_in_default_stream": "1",
        # TF32 keeps 10 bits of the mantissa, which is not fp32; fp16 graphs have fp32 parts too.
        "use_tf32": "0",
    }


class CudaSession(OrtSession):
    """One graph on ONNX Runtime's CUDAExecutionProvider, with no node on the CPU.

    Args:
        model_bytes: see ``Session``.
        name: see ``Session``.
        config: how to compute. ``throughput`` and ``cache`` have no effect.
        placement: where to compute; None for the class's, which is the GPU.

    Raises:
        BackendError: see ``Session``; also where ONNX Runtime would compute on the CPU, or memory
            ran out.

    Attributes:
        placement: where it computes.
    """

    backend = "cuda"
    placement: Placement = GPU

    def __init__(
        self,
        model_bytes: bytes,
        *,
        name: str,
        config: SessionConfig | None = None,
        placement: Placement | None = None,
    ) -> None:
        config = config or SessionConfig()
        # No node runs on the CPU, so a pool of threads would be idle.
        config = replace(config, threads=config.threads or 1)
        self.placement = placement = placement or self.placement
        problem = self.why_not() if placement is GPU else None
        if problem is not None:
            raise problem
        settings = provider_options(config) if placement is GPU else {}
        super().__init__(
            model_bytes, name=name, config=config, provider=(placement.provider, settings)
        )
        check_provider(self._session.get_providers(), placement, name)

    @staticmethod
    def why_not() -> BackendError | None:
        """Return why the CUDA backend cannot work here, with what to do; None where it seems to."""
        problem = why_no_gpu()
        if problem is not None:
            return _missing(f"an NVIDIA GPU, but {problem}", "")
        package = _package_problem()
        missing = None if package is not None else _missing_libraries()
        if missing is not None:
            return _missing(missing, "Run: pip install 'onnxruntime-gpu[cuda,cudnn]'")
        return package

    def _load_error(self, error: Exception) -> BackendError:
        if "assigned to the default CPU EP" in str(error):
            # No other provider is requested, so the provider or one of its nodes is missing.
            return _elsewhere(self.name, _provider_problem())
        return super()._load_error(error)

    def place(self, array: NDArray[Any]) -> DeviceTensor:
        """Copy an array to the device.

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
        """Compute the graph and leave the results on the device.

        Args:
            feeds: as for ``run``; an input may be on the device already.

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
            # Returns when the device has finished.
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
    """Check that a session uses the provider that was requested.

    Args:
        found: ``get_providers()`` of a session, best first.
        placement: what was requested.
        name: of the graph, for the message.

    Raises:
        BackendError: another provider would compute.
    """
    if found[:1] != [placement.provider]:
        raise _elsewhere(name, _provider_problem())


def _elsewhere(name: str, reason: str | None) -> BackendError:
    return BackendError(
        f"ONNX Runtime would compute the {name} graph on the CPU, not on the GPU"
        + (f": {reason}" if reason else ", and gives no reason"),
        field="backend",
        value="cuda",
        remedy="Pass `backend cpu`, or see what is missing with: segan doctor",
    )


def _provider_problem() -> str | None:
    """Return why the provider's own library does not load; None where it does or is elsewhere."""
    import onnxruntime

    library = Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    if not library.is_file():
        return None
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        # 'undefined symbol' only means that it was not loaded by ONNX Runtime.
        missing = re.search(r"[\w.+-]+\.so[\w.]*(?=: cannot open)", str(error))
        return f"{missing[0]} is missing" if missing else first_line(error)
    return None
