"""A bundle's graphs on the CUDA provider: from latents to pixels without leaving the device."""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segan.runtime.bundle import Bundle
from segan.runtime.glue_graphs import PIXELS, SPREAD
from segan.runtime.graphs import BundleGraphs, GraphInputs, Images, offsets_feeds
from segan.runtime.pixels import not_finite
from segan.runtime.sessions.base import SessionConfig
from segan.runtime.sessions.choose import Choice
from segan.runtime.sessions.cuda import CudaSession, DeviceTensor

#: Batches on their way: one is computed while another is copied from the device.
_IN_FLIGHT = 2


class CudaGraphs(BundleGraphs):
    """``BundleGraphs`` whose tensors stay on the device; only uint8 pixels leave it."""

    def __init__(self, bundle: Bundle, choice: Choice, config: SessionConfig) -> None:
        """Raises BundleError for graphs that do not fit the manifest, BackendError, ConfigError."""
        super().__init__(bundle, choice, config)
        placement = self._on_device("synthesis").placement
        for name, model in (("spread", SPREAD), ("pixels", PIXELS)):
            self._sessions[name] = CudaSession(model, name=name, config=config, placement=placement)
        self._noise_there: DeviceTensor | None = None
        if self.noise is not None:
            self._noise_there = self._on_device("synthesis").place(self.noise)
        # One batch computes at a time, so that memory is that of one batch.
        self._computing = threading.Lock()

    def _on_device(self, name: str) -> CudaSession:
        session = self._sessions[name]
        assert isinstance(session, CudaSession)
        return session

    def images(self, inputs: GraphInputs) -> Images:
        """One batch, from latents to pixels; see ``BundleGraphs.images``."""
        with self._computing:
            found = self._compute(inputs)
        # Copied behind the lock: the device goes on with another thread's batch meanwhile.
        if found["wrong"].numpy().any():
            raise not_finite()
        return found["pixels"].numpy()

    def _compute(self, inputs: GraphInputs) -> dict[str, DeviceTensor]:
        """``pixels`` and ``wrong`` of a batch, on the device."""
        # psi and coords take their shapes from w, which for z is yet to be computed.
        w = np.asarray(inputs.z if inputs.w is None else inputs.w, np.float32)
        feeds = self._offsets_feeds(w, inputs)
        if inputs.w is None:
            mapped = self._run("mapping", {"z": inputs.z, "c": inputs.labels})["w"]
            feeds["w"] = self._run("spread", {"v": mapped, "psi": feeds["psi"]})["w"]
        styled = self._run("offsets", feeds)
        noise = self._noise_there if inputs.noise is None else inputs.noise
        synthesis = {"ws": styled["ws"], "shifts": styled.get("shifts"), "noise": noise}
        return self._run("pixels", self._run("synthesis", synthesis))

    def _offsets_feeds(self, w: NDArray[np.float32], inputs: GraphInputs) -> dict[str, Any]:
        vectors: ArrayLike = w
        if inputs.w is None:
            # In the place of w, which lies on the device: only the batch size is read from it.
            vectors = np.zeros((len(np.atleast_1d(w)), 0), np.float32)
        return offsets_feeds(self.manifest, vectors, inputs.psi, inputs.coords)

    def _run(self, name: str, feeds: dict[str, Any]) -> dict[str, DeviceTensor]:
        """As ``run``, but results stay on the device, and inputs that lie there do."""
        placed = {
            key: value
            if isinstance(value, DeviceTensor)
            else np.ascontiguousarray(value, np.float32)
            for key, value in feeds.items()
            if value is not None
        }
        return self._on_device(name).run_on_device(placed)

    def stream(self, batches: Iterable[GraphInputs]) -> Iterator[Images]:
        """``images`` of each batch, in order; inputs are drawn while the device computes."""
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
                # The caller went away, or a batch failed: those behind it are not computed.
                for future in waiting:
                    future.cancel()
