"""Images of seeds by a bundle, on any backend."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from segan.runtime.bundle import open_bundle
from segan.runtime.graphs import GraphInputs, open_graphs
from segan.runtime.sessions.base import SessionConfig
from segan.train.images.image_makers import (
    Array,
    GeneratorFacts,
    ImageMaker,
    Images,
    MakerSettings,
)
from segan.train.images.model_record import ModelRecord


class EngineImages(ImageMaker):
    """The images of a bundle, by the runtime.

    Args:
        path: the bundle.
        settings: how.
        backend: ``auto`` or a backend's name.
        precision: ``auto``, fp32, fp16, bf16 or int8.
        config: of the sessions.

    Raises:
        BundleError, BackendError, ConfigError: it cannot be opened so; see ``ImageMaker``.
    """

    def __init__(
        self,
        path: Path,
        settings: MakerSettings,
        *,
        backend: str = "auto",
        precision: str = "auto",
        config: SessionConfig | None = None,
    ) -> None:
        bundle = open_bundle(path)
        graphs = open_graphs(bundle, backend, precision, config)
        manifest, choice = bundle.manifest, graphs.choice
        training = manifest.provenance.get("training")
        without = isinstance(training, dict) and training.get("noise") is False
        facts = GeneratorFacts(
            resolution=manifest.resolution,
            img_channels=manifest.img_channels,
            z_dim=manifest.z_dim,
            c_dim=manifest.c_dim,
            sites=manifest.sites,
            subspaces=manifest.subspaces,
            coords_dim=manifest.coords_dim,
            noise="absent" if manifest.noise is None else "unused" if without else "used",
        )
        run = [manifest.graphs.mapping, manifest.graphs.offsets]
        run.append(manifest.graphs.synthesis[choice.graph])
        if manifest.noise is not None:
            run.append(manifest.noise)
        digest = hashlib.sha256("".join(manifest.files[name] for name in run).encode())
        record = ModelRecord(
            path=str(path),
            kind="bundle",
            kimg=_kimg(manifest.provenance),
            sha256=digest.hexdigest(),
        )
        super().__init__(facts, record, settings)
        self.backend, self.precision = choice.backend, choice.precision
        self._graphs = graphs

    def stream(self, batches: Iterable[GraphInputs]) -> Iterator[Images]:
        """See ``ImageMaker``; a backend may begin the next batch meanwhile."""
        return self._graphs.stream(batches)

    def map(self, z: Array, labels: Array | None) -> Array:
        """See ``ImageMaker``."""
        return self._graphs.run("mapping", {"z": z, "c": labels})["w"]

    def render(self, w: Array, coords: Array | None, noise: Array | None) -> Array:
        """See ``ImageMaker``."""
        ws, shifts = self._graphs.style(w, self._psi, coords)
        return self._graphs.synthesize(ws, shifts, noise)

    def close(self) -> None:
        """See ``ImageMaker``."""
        self._graphs.close()


def _kimg(provenance: dict[str, Any]) -> float | None:
    found = provenance.get("checkpoint")
    shown = found.get("cur_nimg") if isinstance(found, dict) else None
    return shown / 1000 if isinstance(shown, int | float) else None
