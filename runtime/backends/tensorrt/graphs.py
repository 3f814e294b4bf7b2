"""A bundle's graphs on TensorRT: latents go to the GPU and pixels come back, with no other copy.

A batch is one upload (latents, ψ, coordinates), the three engines, and one download. On the GPU the
mapping's w is repeated for every site. Engines run on one stream and pixels are downloaded on
another, so that one batch is computed while the previous one is downloaded. With TensorRT, a batch
size that is used again runs as one CUDA graph.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import sys
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segan.runtime.backends.choose import Choice
from segan.runtime.backends.graphs import Array, BundleGraphs, Images, offsets_feeds
from segan.runtime.backends.pixels import not_finite
from segan.runtime.backends.session import SessionConfig
from segan.runtime.backends.tensorrt.batches import BatchKey, Begun, Plan, Slot
from segan.runtime.backends.tensorrt.build import IMAGE, PIXELS, UNFINITE
from segan.runtime.backends.tensorrt.cache import engine_folder
from segan.runtime.backends.tensorrt.device import Device, open_device
from segan.runtime.backends.tensorrt.engine import GrowingBuffer, Shape, arrange
from segan.runtime.backends.tensorrt.session import TensorRTSession, no_folder
from segan.runtime.bundle.reader import Bundle
from segan.runtime.errors import BackendError, OutputError, SeganError
from segan.runtime.latents.inputs import GraphInputs

#: Batches in flight: one is computed while the previous one is downloaded.
_IN_FLIGHT = 2

#: Plans that are kept, each with its contexts and CUDA graph.
_PLANS = 8

_ORDER = ("mapping", "offsets", "synthesis")
_F32 = np.dtype(np.float32)


class TensorRTGraphs(BundleGraphs):
    """The mapping, offsets and synthesis graphs on TensorRT. Safe to share between threads.

    Engines are stored in the bundle's ``engines`` folder, or in the user's cache where that cannot
    be written. Batches larger than the engines' are split. Memory is released when this object is
    closed or garbage-collected, or the process ends.

    Attributes:
        device: the GPU.
        max_batch: the most images that are computed at once.
    """

    def __init__(self, bundle: Bundle, choice: Choice, config: SessionConfig) -> None:
        """Load the engines. Raises: BundleError (they do not match the manifest), BackendError."""
        try:
            folder = config.cache or engine_folder(bundle.path)
        except OutputError as error:
            raise no_folder(error) from error
        super().__init__(bundle, choice, replace(config, cache=folder))
        self.device = open_device()
        self._engines = {name: self._session(name).engine for name in _ORDER}
        self.max_batch = min(engine.max_batch for engine in self._engines.values())
        self._uploads = GrowingBuffer(self.device)
        self._between = GrowingBuffer(self.device)
        self._constant = GrowingBuffer(self.device)
        self._plans: collections.OrderedDict[BatchKey, Plan] = collections.OrderedDict()
        self._idle: list[Slot] = []
        buffers = (self._uploads, self._between, self._constant)
        # It holds no reference to this object, so that this object can be collected unclosed.
        release = functools.partial(_free, self.device, self._plans, self._idle, buffers)
        self._release = weakref.finalize(self, self.device.drop, release)

    @property
    def _is_open(self) -> bool:
        return self._release.alive

    def _session(self, name: str) -> TensorRTSession:
        return cast(TensorRTSession, self._sessions[name])

    def images(self, inputs: GraphInputs) -> Images:
        """Compute one batch, from latents to pixels; see ``BundleGraphs.images``."""
        (images,) = self.stream([inputs])
        return images

    def stream(self, batches: Iterable[GraphInputs]) -> Iterator[Images]:
        """Yield ``images`` of each batch, in order; the next batch begins before one is yielded."""
        flight: collections.deque[Begun] = collections.deque()
        parts: list[Images] = []

        def land() -> Iterator[Images]:
            begun = flight.popleft()
            parts.append(self._finish(begun))
            if begun.ends_batch:
                yield parts[0] if len(parts) == 1 else np.concatenate(parts)
                parts.clear()

        waiting = iter(batches)
        try:
            while True:
                try:
                    inputs = next(waiting, None)
                    pieces = [] if inputs is None else self._pieces(inputs)
                except SeganError:
                    # The batches before it are yielded first.
                    while flight:
                        yield from land()
                    raise
                if inputs is None:
                    break
                for number, (key, feeds) in enumerate(pieces):
                    flight.append(self._begin(key, feeds, number == len(pieces) - 1))
                    if len(flight) == _IN_FLIGHT:
                        yield from land()
            while flight:
                yield from land()
        finally:
            # After an error, or when the caller stops iterating.
            for begun in flight:
                self._abandon(begun)

    # Uploads.

    def _pieces(self, inputs: GraphInputs) -> list[tuple[BatchKey, dict[str, Array]]]:
        """Check the arrays of a batch and split them into parts of at most ``max_batch`` images."""
        manifest, sites = self.manifest, self.manifest.num_sites
        feeds: dict[str, Array] = {}
        source: Literal["z", "w", "w_sites"] = "z"
        if inputs.w is None:
            feeds["z"] = _array(inputs.z)
            if inputs.labels is not None:
                feeds["c"] = _array(inputs.labels)
            batch = self._sessions["mapping"].check(dict(feeds))
        else:
            vectors = np.atleast_1d(_array(inputs.w))
            source = "w_sites" if vectors.ndim == 3 else "w"
            feeds[source] = vectors
            batch = len(vectors)
        # A placeholder for a tensor that exists on the GPU only, to check its shape with the rest.
        absent = np.broadcast_to(np.float32(0), (batch, sites, manifest.w_dim))
        w = absent
        if source == "w_sites":
            w = vectors
        elif source == "w":
            w = np.broadcast_to(vectors[:, None], (batch, sites, *vectors.shape[1:]))
        styles = {
            name: _array(value)
            for name, value in offsets_feeds(manifest, w, inputs.psi, inputs.coords).items()
            if name != "w"
        }
        self._sessions["offsets"].check({"w": w, **styles})
        feeds |= styles
        layers: dict[str, NDArray[Any]] = {"ws": absent}
        if manifest.mode == 1 and manifest.num_subspaces:
            layers["shifts"] = styles["coords"]
        kind: Literal["const", "one", "each", "absent"] = "absent"
        noise = self.noise if inputs.noise is None else _array(inputs.noise)
        if noise is not None:
            layers["noise"] = noise
            kind = "each" if len(noise) == batch and batch > 1 else "one"
            if inputs.noise is None:
                kind = "const"
            else:
                feeds["noise"] = noise
        self._sessions["synthesis"].check(layers)
        pieces = []
        for first in range(0, batch, self.max_batch):
            part = {
                name: value
                if name == "noise" and kind == "one"
                else value[first:][: self.max_batch]
                for name, value in feeds.items()
            }
            pieces.append((BatchKey(len(part["psi"]), source, kind), part))
        return pieces

    # Computation.

    def _begin(self, key: BatchKey, feeds: dict[str, Array], ends_batch: bool) -> Begun:
        """Enqueue one part of a batch. Raises: BackendError."""
        device = self.device
        with device.begin(key.batch):
            if not self._is_open:
                raise BackendError("the bundle is closed", remedy="Load it again.")
            plan = self._plan(key, feeds)
            slot = self._idle.pop() if self._idle else Slot(self.device)
            try:
                size = self._result_size(key.batch)
                slot.reach(plan.upload_size, size)
                assert slot.up is not None
                assert slot.down is not None
                for name, array in feeds.items():
                    slot.up.view(plan.uploads[name], array.shape, _F32)[...] = array
                base = self._uploads.reach(plan.upload_size)
                device.copy(base, slot.up.address, plan.upload_size, "HostToDevice", device.compute)
                self._compute(key, plan)
                # The next batch overwrites the source, so the pixels are copied first.
                target = slot.results.reach(size)
                device.copy(target, plan.addresses[PIXELS], size, "DeviceToDevice", device.compute)
                device.record(slot.computed, device.compute)
                device.follow(device.download, slot.computed)
                device.copy(slot.down.address, target, size, "DeviceToHost", device.download)
                device.record(slot.done, device.download)
            except BaseException:
                self._settle()
                self._idle.append(slot)
                raise
        return Begun(slot, key.batch, ends_batch)

    def _compute(self, key: BatchKey, plan: Plan) -> None:
        """Enqueue the three engines, from the second run on as a captured graph."""
        captures = self._engines["synthesis"].captures
        plan.runs += 1
        if plan.graph:
            plan.graph[0].launch()
            return
        # In the first run the library allocates memory, which cannot be captured.
        if captures and plan.can_capture and plan.runs == 2:
            try:
                with self.device.capture(plan.graph):
                    self._enqueue(key, plan)
            except BackendError:
                plan.can_capture = False
            else:
                plan.graph[0].launch()
                return
        self._enqueue(key, plan)

    def _enqueue(self, key: BatchKey, plan: Plan) -> None:
        at, width = plan.addresses, self.manifest.w_dim * _F32.itemsize
        if key.source == "z":
            self._engines["mapping"].enqueue(plan.contexts["mapping"])
        if key.source != "w_sites":
            self.device.repeat(at["w_sites"], at["w"], width, self.manifest.num_sites, key.batch)
        self._engines["offsets"].enqueue(plan.contexts["offsets"])
        self._engines["synthesis"].enqueue(plan.contexts["synthesis"])

    def _plan(self, key: BatchKey, feeds: dict[str, Array]) -> Plan:
        """Return the key's bound plan; a new one where the memory of the old one has moved."""
        captures = self._engines["synthesis"].captures
        plan = self._plans.get(key)
        if plan is not None and captures and plan.moves == self._moves():
            self._plans.move_to_end(key)
            return plan
        if plan is None or captures:
            self._forget(key)
            while len(self._plans) >= _PLANS:
                self._forget(next(iter(self._plans)))
            plan = self._new_plan(key, feeds)
        self._bind(key, plan)
        plan.moves = self._moves()
        self._plans[key] = plan
        return plan

    def _moves(self) -> tuple[int, ...]:
        buffers = (self._uploads, self._between, self._constant)
        return (*(b.moves for b in buffers), *(e.moves for e in self._engines.values()))

    def _forget(self, key: BatchKey) -> None:
        plan = self._plans.pop(key, None)
        if plan is not None and plan.graph:
            self.device.finish()
            plan.graph.pop().free()

    def _new_plan(self, key: BatchKey, feeds: dict[str, Array]) -> Plan:
        uploads, size = arrange({name: (array.shape, _F32) for name, array in feeds.items()})
        names = [name for name in _ORDER if name != "mapping" or key.source == "z"]
        contexts = {name: self._engines[name].context() for name in names}
        return Plan(uploads=uploads, upload_size=size, contexts=contexts, addresses={})

    def _bind(self, key: BatchKey, plan: Plan) -> None:
        """Place every tensor and set the contexts' addresses."""
        base = self._uploads.reach(plan.upload_size)
        at = {name: base + offset for name, offset in plan.uploads.items()}
        offsets, size = arrange(
            {n: t for n, t in self._tensors(key.batch).items() if n not in plan.uploads}
        )
        base = self._between.reach(size)
        at |= {name: base + offset for name, offset in offsets.items()}
        if key.noise == "const":
            at["noise"] = self._constant_noise()
        plan.addresses = at
        n = key.batch
        rows = {"noise": n if key.noise == "each" else 1}
        for name, context in plan.contexts.items():
            engine = self._engines[name]
            shapes: dict[str, Shape] = {}
            for spec in engine.inputs:
                rest = tuple(size for size in spec.shape[1:] if size is not None)
                shapes[spec.name] = (rows.get(spec.name, n), *rest)
            own = {spec.name: at[spec.name] for spec in (*engine.inputs, *engine.outputs)}
            if name == "offsets":
                # The mapping also has an output w, which is one vector for each image.
                own["w"] = at["w_sites"]
            engine.bind(context, shapes, own)

    def _tensors(self, batch: int) -> dict[str, tuple[Shape, Any]]:
        """Return the tensors that stay on the GPU; the results first, for a single download."""
        manifest = self.manifest
        side, channels = manifest.resolution, manifest.img_channels
        tensors: dict[str, tuple[Shape, Any]] = {
            PIXELS: ((batch, side, side, channels), np.uint8),
            UNFINITE: ((batch,), _F32),
            "w": ((batch, manifest.w_dim), _F32),
            "w_sites": ((batch, manifest.num_sites, manifest.w_dim), _F32),
            "ws": ((batch, manifest.num_sites, manifest.w_dim), _F32),
            IMAGE: ((batch, channels, side, side), _F32),
        }
        if manifest.num_subspaces:
            tensors["shifts"] = ((batch, manifest.num_subspaces, manifest.coords_dim), _F32)
        return tensors

    def _results(self, batch: int) -> dict[str, tuple[Shape, Any]]:
        tensors = self._tensors(batch)
        return {name: tensors[name] for name in (PIXELS, UNFINITE)}

    def _result_size(self, batch: int) -> int:
        return arrange(self._results(batch))[1]

    def _constant_noise(self) -> int:
        """Return the address of the bundle's noise on the GPU, which is uploaded once."""
        assert self.noise is not None
        if not self._constant.size:
            pinned = self.device.pin(self.noise.nbytes)
            try:
                pinned.view(0, self.noise.shape, _F32)[...] = self.noise
                address = self._constant.reach(self.noise.nbytes)
                stream = self.device.compute
                self.device.copy(address, pinned.address, self.noise.nbytes, "HostToDevice", stream)
                self.device.finish()
            except BaseException:
                # Allocated memory would count as filled.
                self._settle()
                with contextlib.suppress(BackendError):
                    self._constant.free()
                raise
            finally:
                pinned.free()
        return self._constant.reach(self.noise.nbytes)

    # Downloads.

    def _finish(self, begun: Begun) -> Images:
        """Wait for a part. Raises: BackendError when it failed or a value is not finite."""
        slot, results = begun.slot, self._results(begun.batch)
        try:
            self.device.wait(slot.done)
            assert slot.down is not None
            offsets, _ = arrange(results)
            views = {name: slot.down.view(offsets[name], *results[name]) for name in results}
            unfinite = float(views[UNFINITE].sum())
            images = views[PIXELS].copy()
        except BackendError:
            self._settle()
            raise
        finally:
            self._return(slot)
        if unfinite != 0:
            raise not_finite()
        return images

    def _settle(self) -> None:
        """After an error, wait until nothing uses memory that is freed or used again."""
        with contextlib.suppress(BackendError):
            self.device.finish()

    def _abandon(self, begun: Begun) -> None:
        if sys.is_finalizing():
            return  # At the process's end, CUDA may be shut down already.
        with contextlib.suppress(BackendError):
            self.device.wait(begun.slot.done)
        self._return(begun.slot)

    def _return(self, slot: Slot) -> None:
        with self.device.lock:
            if self._is_open:
                self._idle.append(slot)
            else:
                slot.free()

    def close(self) -> None:
        """Free the GPU's memory."""
        with self.device.lock:
            self._release()
        super().close()


def _free(
    device: Device,
    plans: dict[BatchKey, Plan],
    idle: list[Slot],
    buffers: tuple[GrowingBuffer, ...],
) -> None:
    """Free what the graphs hold; errors are ignored, since nothing can be done about them."""
    with contextlib.suppress(BackendError):
        device.finish()
    for plan in plans.values():
        while plan.graph:
            plan.graph.pop().free()
    plans.clear()
    for slot in idle:
        with contextlib.suppress(BackendError):
            slot.free()
    idle.clear()
    for buffer in buffers:
        with contextlib.suppress(BackendError):
            buffer.free()


def _array(value: ArrayLike | None) -> Array:
    return np.ascontiguousarray(value, np.float32)
