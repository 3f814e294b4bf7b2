"""A bundle's graphs on the CUDA provider: from latents to pixels without leaving the device."""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segan.runtime.backends.choose import Choice
from segan.runtime.backends.cuda.session import CudaSession, DeviceTensor
from segan.runtime.backends.graphs import BundleGraphs, Images, offsets_feeds
from segan.runtime.backends.pixels import not_finite
from segan.runtime.backends.session import SessionConfig
from segan.runtime.bundle.reader import Bundle
from segan.runtime.graphs.check import SafeModel
from segan.runtime.latents.inputs import GraphInputs

#: Network output to pixels, for any C, H and W: ``image`` [N, C, H, W] float32 → ``pixels``
#: [N, H, W, C] uint8, as ``to_uint8`` computes them, and ``wrong`` [N] float32, the number of
#: values of each image that are not finite.
PIXELS = SafeModel(Path(__file__).with_name("pixels.onnx").read_bytes())

#: One vector for every site: ``v`` [N, w_dim], ``psi`` [N, num_sites] → ``w``
#: [N, num_sites, w_dim], float32. It adds 0 · psi, whose shape holds the number of sites.
SPREAD = SafeModel(Path(__file__).with_name("spread.onnx").read_bytes())

#: Batches in flight: one is computed while another is copied from the device.
_IN_FLIGHT = 2


class CudaGraphs(BundleGraphs):
    """``BundleGraphs`` whose tensors stay on the device; only uint8 pixels are downloaded."""

    def __init__(self, bundle: Bundle, choice: Choice, config: SessionConfig) -> None:
        """Load the graphs. Raises: BundleError (they do not match the manifest), BackendError."""
        super().__init__(bundle, choice, config)
        placement = self._on_device("synthesis").placement
        for name, model in (("spread", SPREAD), ("pixels", PIXELS)):
            self._sessions[name] = CudaSession(model, name=name, config=config, placement=placement)
        self._device_noise: DeviceTensor | None = None
        if self.noise is not None:
            self._device_noise = self._on_device("synthesis").place(self.noise)
        # Held while a batch computes, so that only one batch needs memory.
        self._computing = threading.Lock()

    def _on_device(self, name: str) -> CudaSession:
        session = self._sessions[name]
        assert isinstance(session, CudaSession)
        return session

    def images(self, inputs: GraphInputs) -> Images:
        """Compute one batch, from latents to pixels; see ``BundleGraphs.images``."""
        with self._computing:
            found = self._compute(inputs)
        # Copied without the lock, so that the device can compute another thread's batch.
        if found["wrong"].numpy().any():
            raise not_finite()
        return found["pixels"].numpy()

    def _compute(self, inputs: GraphInputs) -> dict[str, DeviceTensor]:
        """Compute ``pixels`` and ``wrong`` of a batch, on the device."""
        # psi and coords take their batch size from w, or where w is not computed yet, from z.
        w = np.asarray(inputs.z if inputs.w is None else inputs.w, np.float32)
        feeds = self._offsets_feeds(w, inputs)
        if inputs.w is None:
            mapped = self._run("mapping", {"z": inputs.z, "c": inputs.labels})["w"]
            feeds["w"] = self._run("spread", {"v": mapped, "psi": feeds["psi"]})["w"]
        styled = self._run("offsets", feeds)
        noise = self._device_noise if inputs.noise is None else inputs.noise
        synthesis = {"ws": styled["ws"], "shifts": styled.get("shifts"), "noise": noise}
        return self._run("pixels", self._run("synthesis", synthesis))

    def _offsets_feeds(self, w: NDArray[np.float32], inputs: GraphInputs) -> dict[str, Any]:
        vectors: ArrayLike = w
        if inputs.w is None:
            # A placeholder for w, which is on the device: only its batch size is read.
            vectors = np.zeros((len(np.atleast_1d(w)), 0), np.float32)
        return offsets_feeds(self.manifest, vectors, inputs.psi, inputs.coords)

    def _run(self, name: str, feeds: dict[str, Any]) -> dict[str, DeviceTensor]:
        """Run one graph; results stay on the device, and inputs may be there already."""
        placed = {
            key: value
            if isinstance(value, DeviceTensor)
            else np.ascontiguousarray(value, np.float32)
            for key, value in feeds.items()
            if value is not None
        }
        return self._on_device(name).run_on_device(placed)

    def stream(self, batches: Iterable[GraphInputs]) -> Iterator[Images]:
        """Yield ``images`` of each batch, in order; inputs are drawn while the device computes."""
        waiting: collections.deque[Future[Images]] = collections.deque()
        with ThreadPoolExecutor(_IN_FLIGHT, "segan-cuda") as pool:
            try:
                for inputs in batches:
                    waiting.append(pool.submit(self.images, inputs))
                    if len(waiting) >= _IN_FLIGHT:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                # After an error, or when the caller stops iterating.
                for future in waiting:
                    future.cancel()
