"""A bundle's graphs on the CUDA provider: from latents to pixels without leaving the device."""

from __future__ import annotations

import base64
import collections
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segan.runtime.backends.choose import Choice
from segan.runtime.backends.cuda.session import CudaSession, DeviceTensor
from segan.runtime.backends.graphs import BundleGraphs, Images, offsets_feeds
from segan.runtime.backends.pixels import not_finite
from segan.runtime.backends.session import SessionConfig
from segan.runtime.bundle.reader import Bundle
from segan.runtime.latents.inputs import GraphInputs

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


#: Network output to pixels: ``image`` [N, C, H, W] float32 → ``pixels`` [N, H, W, C] uint8, as
#: ``segan.runtime.backends.pixels.to_uint8`` computes them, and ``wrong`` [N] float32, how
#: many values of each image are not finite. For any C, H and W.
PIXELS = base64.b64decode(
    "CAg6ngMKEgoFaW1hZ2UKAWESAW0iA011bAoOCgFtCgFiEgFwIgNBZGQKCwoBcBIBcyIDQWJzCg8KAXMKAWkSAWwiBExl"
    "c3MKCwoBbBIBbiIDTm90ChcKAW4SAWYiBENhc3QqCQoCdG8YAaABAgopCgFmCgF4EgV3cm9uZyIJUmVkdWNlU3VtKg8K"
    "CGtlZXBkaW1zGACgAQIKEgoBcAoBegoBaBIBYyIEQ2xpcAoXCgFjEgF1IgRDYXN0KgkKAnRvGAKgAQIKKQoBdRIGcGl4"
    "ZWxzIglUcmFuc3Bvc2UqEQoEcGVybUAAQAJAA0ABoAEHEgFnKgsQASIEAAD/QkIBYSoLEAEiBAAAAENCAWIqCxABIgQA"
    "AIB/QgFpKgsQASIEAAAAAEIBeioLEAEiBAAAf0NCAWgqDAgDEAc6AwECA0IBeFojCgVpbWFnZRIaChgIARIUCgMSAU4K"
    "AxIBQwoDEgFICgMSAVdiJAoGcGl4ZWxzEhoKGAgCEhQKAxIBTgoDEgFICgMSAVcKAxIBQ2IUCgV3cm9uZxILCgkIARIF"
    "CgMSAU5CBAoAEBI="
)

#: One vector for every site: ``v`` [N, w_dim], ``psi`` [N, num_sites] → ``w``
#: [N, num_sites, w_dim], float32. It adds 0 · psi, which has the number of sites in its shape.
SPREAD = base64.b64decode(
    "CAg60AEKGAoDcHNpCgN0d28SAXAiCVVuc3F1ZWV6ZQoRCgFwCgR6ZXJvEgFvIgNNdWwKFgoBdgoDb25lEgFyIglVbnNx"
    "dWVlemUKDgoBcgoBbxIBdyIDQWRkEgFnKgwIARAHOgEBQgNvbmUqDAgBEAc6AQJCA3R3byoOEAEiBAAAAABCBHplcm9a"
    "FQoBdhIQCg4IARIKCgMSAU4KAxIBV1oXCgNwc2kSEAoOCAESCgoDEgFOCgMSAVNiGgoBdxIVChMIARIPCgMSAU4KAxIB"
    "UwoDEgFXQgQKABAS"
)
