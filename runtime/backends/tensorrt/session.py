"""TensorRT, or TensorRT for RTX, on an NVIDIA GPU."""

from __future__ import annotations

import contextlib
import hashlib
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segan.runtime.backends.session import Session, SessionConfig
from segan.runtime.backends.tensorrt.build import (
    BUILD_FORMAT,
    PIXELS,
    UNFINITE,
    BuiltEngine,
    Progress,
    Target,
    build_engine,
)
from segan.runtime.backends.tensorrt.cache import EngineKey, StoredEngine, obtain_engine
from segan.runtime.backends.tensorrt.device import open_device, why_no_cuda
from segan.runtime.backends.tensorrt.engine import DeviceEngine, RefusedEngineError
from segan.runtime.backends.tensorrt.library import Library, require_library
from segan.runtime.backends.tensorrt.settings import EngineSettings
from segan.runtime.errors import BackendError, OutputError
from segan.runtime.files.atomic import make_folder, write_atomic
from segan.runtime.files.cache import cache_folder
from segan.runtime.graphs.check import BROADCAST_INPUTS
from segan.runtime.machine.gpus import cuda_devices


def obtain(
    model: bytes,
    *,
    name: str,
    precision: str,
    target: Target,
    library: Library,
    folder: Path,
    settings: EngineSettings | None = None,
    rebuild: bool = False,
    on_progress: Progress | None = None,
) -> StoredEngine:
    """Load a graph's engine from a folder, or build it into the folder.

    Args:
        model: the serialized ONNX model, with its weights inside.
        name: of the graph.
        precision: of the graph.
        target: the GPU that the engine is for.
        library: that builds it.
        folder: of the engines; created when it is missing.
        settings: how to build.
        rebuild: build also where there is a stored engine.
        on_progress: see ``segan.runtime.backends.tensorrt.build.build_engine``.

    Raises:
        BackendError: it cannot be built.
        OutputError: the folder cannot be created.
    """
    settings = settings or EngineSettings()
    key = EngineKey(
        graph=name,
        precision=precision,
        onnx_sha256=hashlib.sha256(model).hexdigest(),
        library=library.name,
        library_version=library.version,
        settings=settings,
        build_format=BUILD_FORMAT,
    )

    def build() -> BuiltEngine:
        timings = _timing_file(library, target)
        known = b""
        if timings is not None:
            with contextlib.suppress(OSError):
                known = timings.read_bytes()
        built = build_engine(
            library,
            model,
            name=name,
            target=target,
            settings=settings,
            timings=known,
            on_progress=on_progress,
        )
        if timings is not None and built.timings is not None:
            with contextlib.suppress(OutputError):
                write_atomic(timings, built.timings)
        return built

    return obtain_engine(make_folder(folder), key, target, build, rebuild=rebuild)


def _timing_file(library: Library, target: Target) -> Path | None:
    """Return the file of TensorRT's timings on this GPU; None where they are not kept."""
    if library.is_rtx:
        return None
    name = f"{library.version} {target.gpu} {target.driver}"
    try:
        folder = cache_folder("engines")
    except OutputError:
        return None
    return folder / f"timings-{hashlib.sha256(name.encode()).hexdigest()[:16]}.cache"


class TensorRTSession(Session):
    """One graph on TensorRT. Batches larger than the engine's are split.

    Memory is released when the session is closed or garbage-collected, or the process ends.

    Args:
        model_bytes: see ``Session``.
        name: of the graph, for messages and files.
        config: how to compute; ``cache`` is the folder of the engines, None for the user's cache.
            ``backend_settings`` is an ``EngineSettings``.

    Attributes:
        engine: on the GPU; besides ``outputs`` it has the outputs ``pixels`` and ``unfinite``.

    Raises:
        BackendError: there is no GPU or no library, or the engine cannot be built or loaded.
        OutputError: ``cache`` cannot be created.
    """

    def __init__(
        self, model_bytes: bytes, *, name: str, config: SessionConfig | None = None
    ) -> None:
        config = config or SessionConfig()
        problem = self.why_not()
        if problem is not None:
            raise problem
        library, self._device = require_library(), open_device()
        self.name, self.backend, self.precision = name, "tensorrt", config.precision
        target = Target.of(cuda_devices()[0])
        folder = config.cache or _cache()

        def get(rebuild: bool) -> StoredEngine:
            return obtain(
                model_bytes,
                name=name,
                precision=config.precision,
                target=target,
                library=library,
                folder=folder,
                settings=config.backend_settings,
                rebuild=rebuild,
            )

        stored = get(False)
        try:
            self.engine = self._load(library, stored)
        except RefusedEngineError:
            # Building again helps only where the engine was loaded from a file.
            if stored.was_built:
                raise
            self.engine = self._load(library, get(True))
        # Also without a call of close(), or TensorRT for RTX would lose its compiled kernels. The
        # engine holds no reference to this session, so that the session can be collected.
        self._release = weakref.finalize(self, self._device.drop, self.engine.close)
        self.inputs = self.engine.inputs
        self.outputs = tuple(
            spec for spec in self.engine.outputs if spec.name not in (PIXELS, UNFINITE)
        )

    @staticmethod
    def why_not() -> BackendError | None:
        """Return why TensorRT cannot work here, with what to install; None where it seems to."""
        problem = why_no_cuda()
        if problem is None:
            try:
                require_library()
            except BackendError as error:
                problem = error
        return problem

    def _load(self, library: Library, stored: StoredEngine) -> DeviceEngine:
        kernels = None
        if library.is_rtx:
            with contextlib.suppress(OutputError):
                # Never in a bundle, since compiled kernels are not sealed.
                kernels = cache_folder("engines") / f"kernels-{stored.record.sha256[:16]}.cache"
        with self._device.lock:
            return DeviceEngine(library, self._device, stored.plan, name=self.name, kernels=kernels)

    def _run(self, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        wanted = tuple(spec.name for spec in self.outputs)
        batch = max(len(array) for array in feeds.values())
        parts: list[dict[str, NDArray[Any]]] = []
        for first in range(0, batch, self.engine.max_batch):
            part = {
                name: array
                if name in BROADCAST_INPUTS and len(array) == 1
                else array[first : first + self.engine.max_batch]
                for name, array in feeds.items()
            }
            rows = max(len(array) for array in part.values())
            with self._device.begin(rows):
                # Another thread may have closed the session.
                self._check_open()
                parts.append(self.engine.run(part, wanted))
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in wanted}

    def _close(self) -> None:
        with self._device.lock:
            self._release()


def _cache() -> Path:
    try:
        return cache_folder("engines")
    except OutputError as error:
        raise no_folder(error) from error


def no_folder(error: OutputError) -> BackendError:
    """Return the error for engines that cannot be stored anywhere."""
    return BackendError(
        f"TensorRT's engines cannot be stored: {error.problem}",
        field=error.field,
        value=error.value,
        remedy="Set SEGAN_CACHE to a folder that you can write to.",
    )
