"""The three graphs of a bundle as sessions, checked against its manifest."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segan.runtime.bundle import Bundle
from segan.runtime.errors import BackendError, BundleError
from segan.runtime.layout import noise_sizes
from segan.runtime.manifest import Manifest
from segan.runtime.sessions.base import Session, TensorSpec
from segan.runtime.sessions.choose import choose_backend, open_session

Array = NDArray[np.float32]

# Shape of a tensor behind its batch dimension.
_Shapes = dict[str, tuple[int, ...]]


class BundleGraphs:
    """Mapping, offsets and synthesis, loaded.

    Attributes:
        backend: what runs them.
        noise: the constant noise, [1, sum of the sites' r²] float32, or None without noise.
    """

    def __init__(
        self, bundle: Bundle, backend: str, threads: int | None, *, low_memory: bool = False
    ) -> None:
        """Raises BundleError for graphs that do not fit the manifest, BackendError, ConfigError."""
        manifest = bundle.manifest
        self.backend = choose_backend(backend)
        files = {
            "mapping": manifest.graphs.mapping,
            "offsets": manifest.graphs.offsets,
            "synthesis": manifest.graphs.synthesis["fp32"],
        }
        self._sessions: dict[str, Session] = {}
        for name, file in files.items():
            model = bundle.read(file)
            try:
                session = open_session(
                    model, self.backend, name=name, threads=threads, low_memory=low_memory
                )
            except BackendError as error:
                raise BackendError(f"{bundle.path}: {error}") from None
            _check_graph(bundle, session, *_expected(manifest)[name])
            self._sessions[name] = session
        self.noise: Array | None = None
        if manifest.noise is not None:
            try:
                self.noise = _decode_noise(
                    bundle.read(manifest.noise), sum(noise_sizes(manifest.sites))
                )
            except ValueError as error:
                raise BundleError(
                    f"{bundle.path}: {manifest.noise}: {error}. Export the bundle again."
                ) from None

    def run(self, name: str, feeds: dict[str, Any]) -> dict[str, Array]:
        """Runs one graph on float32 copies of its inputs; inputs that are None are left out.

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

    def close(self) -> None:
        """Gives the sessions' memory back."""
        for session in self._sessions.values():
            session.close()


def _expected(manifest: Manifest) -> dict[str, tuple[_Shapes, _Shapes]]:
    """(inputs, outputs) of each graph that the manifest calls for."""
    z, w, sites = (manifest.z_dim,), (manifest.w_dim,), manifest.num_sites
    ws = (sites, manifest.w_dim)
    coords = (manifest.num_subspaces, manifest.coords_dim)
    mapping: _Shapes = {"z": z}
    offsets: _Shapes = {"w": ws, "psi": (sites,)}
    offsets_out: _Shapes = {"ws": ws}
    synthesis: _Shapes = {"ws": ws}
    if manifest.c_dim:
        mapping["c"] = (manifest.c_dim,)
    if manifest.num_subspaces:
        offsets["coords"] = coords
        if manifest.mode == 1:
            offsets_out["shifts"] = synthesis["shifts"] = coords
    if manifest.noise is not None:
        synthesis["noise"] = (sum(noise_sizes(manifest.sites)),)
    image = (manifest.img_channels, manifest.resolution, manifest.resolution)
    return {
        "mapping": (mapping, {"w": w}),
        "offsets": (offsets, offsets_out),
        "synthesis": (synthesis, {"image": image}),
    }


def _check_graph(bundle: Bundle, session: Session, inputs: _Shapes, outputs: _Shapes) -> None:
    """Raises BundleError unless names, types and shapes are those that the manifest calls for."""
    kinds = (("input", session.inputs, inputs), ("output", session.outputs, outputs))
    for kind, found, wanted in kinds:
        names = {spec.name for spec in found}
        if names != wanted.keys():
            raise BundleError(
                f"{bundle.path}: the {session.name} graph has the {kind}s "
                f"{', '.join(sorted(names))}; the manifest calls for {', '.join(sorted(wanted))}. "
                "Export the bundle again."
            )
        for spec in found:
            full = TensorSpec(
                name=spec.name, dtype=np.dtype(np.float32), shape=(None, *wanted[spec.name])
            )
            # Shape inference may leave sizes of an output open; what a session returns is checked.
            same = len(spec.shape) == len(full.shape) and all(
                size == target or (kind == "output" and size is None)
                for size, target in zip(spec.shape, full.shape, strict=True)
            )
            if not same or spec.dtype != full.dtype:
                raise BundleError(
                    f"{bundle.path}: the {session.name} graph has the {kind} {spec}; the manifest "
                    f"calls for {full}. Export the bundle again."
                )


def _decode_noise(data: bytes, size: int) -> Array:
    """Reads a .npy of float32 [size] without trusting its header; raises ValueError."""
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("it is not a .npy file of version 1.0")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if shape != (size,) or dtype != np.dtype("<f4"):
        raise ValueError(f"it holds {dtype} {list(shape)}; expected float32 [{size}]")
    values = np.frombuffer(data, "<f4", offset=file.tell())
    if values.size != size or not np.isfinite(values).all():
        raise ValueError(f"it does not hold {size} finite values")
    return values.reshape(1, size).astype(np.float32)
