"""The three graphs of a bundle as sessions, checked against its manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segan.runtime.backends.choose import Choice, candidates, open_session
from segan.runtime.backends.pixels import to_uint8
from segan.runtime.backends.registry import BACKENDS
from segan.runtime.backends.session import Precision, Session, SessionConfig, TensorSpec
from segan.runtime.bundle.graph_files import graph_interfaces, read_graph
from segan.runtime.bundle.layout import noise_sizes
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.bundle.reader import Bundle
from segan.runtime.errors import BackendError, BundleError, ConfigError, DataError
from segan.runtime.files.arrays import npy_values
from segan.runtime.graphs.check import Interface
from segan.runtime.latents.inputs import GraphInputs

Array = NDArray[np.float32]

Images = NDArray[np.uint8]


def open_graphs(
    bundle: Bundle,
    backend: str = "auto",
    precision: str = "auto",
    config: SessionConfig | None = None,
) -> BundleGraphs:
    """Load a bundle's graphs on the best backend that works here, or on a named one.

    Args:
        bundle: an open bundle.
        backend: ``auto`` or one of ``segan.runtime.backends.registry.BACKENDS``.
        precision: ``auto``, fp32, fp16, bf16 or int8.
        config: how to compute; its precision is set by the choice.

    Raises:
        BundleError: graphs that do not match the manifest.
        BackendError: the backend is missing or cannot load a graph.
        ConfigError: an unknown name, or a precision that is not available.
    """
    config = config or SessionConfig()
    failed: dict[str, str] = {}
    choices = candidates(backend, precision, bundle.manifest.graphs.synthesis)
    for choice in choices:
        choice = replace(choice, passed_over=choice.passed_over | failed)
        try:
            graphs: BundleGraphs = BACKENDS[choice.backend].graphs_class()(bundle, choice, config)
            return graphs
        except BackendError as error:
            if choice.backend == choices[-1].backend:
                raise
            failed[choice.backend] = str(error)
    raise AssertionError("candidates() gives one or raises")


class BundleGraphs:
    """The mapping, offsets and synthesis graphs, loaded. Safe to share between threads.

    Attributes:
        choice: the backend and precision, and why better backends were passed over.
        manifest: of the bundle.
        noise: the constant noise, [1, sum of the sites' r²] float32, or None without noise.
    """

    def __init__(self, bundle: Bundle, choice: Choice, config: SessionConfig) -> None:
        """Load the graphs. Raises: BundleError (they do not match the manifest), BackendError."""
        manifest = bundle.manifest
        self.choice, self.manifest = choice, manifest
        # The small graphs cost next to nothing, so they are always computed in fp32.
        precisions: dict[str, Precision] = {
            "mapping": "fp32",
            "offsets": "fp32",
            "synthesis": choice.precision,
        }
        self._sessions: dict[str, Session] = {}
        for name, precision in precisions.items():
            model = read_graph(bundle, name, choice.graph)
            # A second pool of threads would busy-wait and slow synthesis down by a third.
            threads = config.threads if name == "synthesis" else 1
            own = replace(config, precision=precision, threads=threads)
            try:
                session = open_session(model, choice.backend, name=name, config=own)
            except BackendError as error:
                error.problem = f"{bundle.path}: {error.problem}"
                raise
            _check_graph(bundle, session, graph_interfaces(manifest)[name])
            self._sessions[name] = session
        self.noise = read_noise(bundle)

    def run(self, name: str, feeds: dict[str, Any]) -> dict[str, Array]:
        """Run one graph on its inputs as float32; inputs that are None are left out.

        Raises:
            ConfigError: a missing or unknown input, or a wrong shape.
            BackendError: the backend failed.
        """
        arrays = {
            key: np.ascontiguousarray(value, np.float32)
            for key, value in feeds.items()
            if value is not None
        }
        return self._sessions[name].run(arrays)

    def style(
        self, w: ArrayLike, psi: ArrayLike, coords: ArrayLike | None
    ) -> tuple[Array, Array | None]:
        """Compute truncation and subspaces; see ``Generator.style``."""
        found = self.run("offsets", offsets_feeds(self.manifest, w, psi, coords))
        return found["ws"], found.get("shifts")

    def synthesize(self, ws: ArrayLike, shifts: ArrayLike | None, noise: ArrayLike | None) -> Array:
        """Compute images; see ``Generator.synthesize``."""
        noise = self.noise if noise is None else noise
        return self.run("synthesis", {"ws": ws, "shifts": shifts, "noise": noise})["image"]

    def images(self, inputs: GraphInputs) -> Images:
        """Compute one batch, from latents to pixels.

        Returns:
            [N, H, W, C] uint8.

        Raises:
            ConfigError: a wrong shape.
            BackendError: the backend failed, or a pixel is not a finite number.
        """
        w = inputs.w
        if w is None:
            w = self.run("mapping", {"z": inputs.z, "c": inputs.labels})["w"]
        ws, shifts = self.style(w, inputs.psi, inputs.coords)
        return to_uint8(self.synthesize(ws, shifts, inputs.noise))

    def stream(self, batches: Iterable[GraphInputs]) -> Iterator[Images]:
        """Yield ``images`` of each batch, in order; a backend may begin the next one meanwhile."""
        return map(self.images, batches)

    def close(self) -> None:
        """Return the sessions' memory."""
        for session in self._sessions.values():
            session.close()


def offsets_feeds(
    manifest: Manifest, w: ArrayLike, psi: ArrayLike, coords: ArrayLike | None
) -> dict[str, Any]:
    """Return the inputs of ``offsets.onnx``, broadcast over images and sites.

    Args:
        manifest: of the bundle.
        w: [N, w_dim], or [N, num_sites, w_dim] with a vector for each site.
        psi: one number, [num_sites] or [N, num_sites].
        coords: [N, num_subspaces, coords_dim], or None for zeros.

    Raises:
        ConfigError: ``psi`` has another shape, or coords are given without subspaces.
    """
    vectors = np.asarray(w, np.float32)
    if vectors.ndim == 2:
        vectors = np.repeat(vectors[:, None], manifest.num_sites, axis=1)
    try:
        row = np.broadcast_to(np.asarray(psi, np.float32), (len(vectors), manifest.num_sites))
    except ValueError:
        raise ConfigError(
            f"`psi` has shape {list(np.shape(psi))}",
            field="psi",
            value=list(np.shape(psi)),
            expected=f"[{manifest.num_sites}] or [{len(vectors)}, {manifest.num_sites}]",
        ) from None
    feeds: dict[str, Any] = {"w": vectors, "psi": row}
    if manifest.num_subspaces:
        shape = (len(vectors), manifest.num_subspaces, manifest.coords_dim)
        feeds["coords"] = np.zeros(shape, np.float32) if coords is None else coords
    elif coords is not None and np.size(coords):
        raise ConfigError(
            "this bundle has no subspaces",
            field="coords",
            value=list(np.shape(coords)),
            remedy="Leave `coords` out.",
        )
    return feeds


def _check_graph(bundle: Bundle, session: Session, wanted_by: Interface) -> None:
    """Raise BundleError unless names, types and shapes match the manifest."""
    kinds = (
        ("input", session.inputs, wanted_by.inputs),
        ("output", session.outputs, wanted_by.outputs),
    )
    for kind, found, wanted in kinds:
        names = {spec.name for spec in found}
        if names != wanted.keys():
            raise BundleError(
                f"{bundle.path}: the {session.name} graph has the {kind}s "
                f"{', '.join(sorted(names))}",
                field="path",
                value=bundle.path,
                expected=f"{', '.join(sorted(wanted))}, by the manifest",
                remedy="Export the bundle again.",
            )
        for spec in found:
            full = TensorSpec(
                name=spec.name, dtype=np.dtype(np.float32), shape=(None, *wanted[spec.name])
            )
            # Shape inference may leave sizes of an output open; a session checks its results.
            same = len(spec.shape) == len(full.shape) and all(
                size == target or (kind == "output" and size is None)
                for size, target in zip(spec.shape, full.shape, strict=True)
            )
            if not same or spec.dtype != full.dtype:
                raise BundleError(
                    f"{bundle.path}: the {session.name} graph has the {kind} {spec}",
                    field="path",
                    value=bundle.path,
                    expected=f"{full}, by the manifest",
                    remedy="Export the bundle again.",
                )


def read_noise(bundle: Bundle) -> Array | None:
    """Return a bundle's constant noise, [1, sum of the sites' r²] float32, or None without noise.

    Raises:
        BundleError: the file is missing, altered or damaged, or holds something else.
    """
    name = bundle.manifest.noise
    if name is None:
        return None
    try:
        return _decode_noise(bundle.read(name), sum(noise_sizes(bundle.manifest.sites)))
    except ValueError as error:
        raise BundleError(
            f"{bundle.path}: {name}: {error}",
            field="path",
            value=bundle.path,
            remedy="Export the bundle again.",
        ) from None


def _decode_noise(data: bytes, size: int) -> Array:
    """Read a .npy of float32 [size] without trusting its header. Raises: ValueError."""
    try:
        values = npy_values(data, "it")
    except DataError as error:
        raise ValueError(error.problem) from None
    if values.shape != (size,) or values.dtype != np.dtype("<f4"):
        raise ValueError(f"it holds {values.dtype} {list(values.shape)}; expected float32 [{size}]")
    if not np.isfinite(values).all():
        raise ValueError(f"it does not hold {size} finite values")
    return values.reshape(1, size).astype(np.float32)
