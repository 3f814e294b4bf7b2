"""``manifest.json``: what a bundle holds, how it was made, and what its verification measured."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from segan.runtime.bundle.layout import Architecture, Site, Subspace, check_resolution
from segan.runtime.errors import BundleError
from segan.runtime.files.json_record import decode_record, encode_record

FORMAT = "segan.bundle/1"


class Graphs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """File names of the graphs; ``synthesis`` maps a precision, ``fp32`` first, to its file."""

    mapping: str
    offsets: str
    synthesis: dict[str, str]


class Verification(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What export measured: fp32 against the PyTorch generator, other precisions against fp32.

    Attributes:
        backend: the session that ran the graphs, for example ``cpu``; ``emulated`` where every
            result of a half-precision graph was rounded to its type by itself.
        precision: the synthesis graph that was run.
        max_error: largest absolute difference of a pixel, images in [-1, 1].
        psnr_db: peak signal-to-noise ratio in dB over all compared images, peak to peak 2.
        tolerance: the max_error that was allowed.
        batch_sizes: the batch sizes that were compared.
        seeds: the seeds that were compared.
        cases: what was compared, for example ``psi 0.7, noise random``, with its max_error.
        min_psnr_db: the psnr_db that was asked for; None where max_error alone decided.
        worst_psnr_db: of a single image; None where it was not measured.
    """

    backend: str
    precision: str
    max_error: float
    psnr_db: float
    tolerance: float
    batch_sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    cases: dict[str, float]
    min_psnr_db: float | None = None
    worst_psnr_db: float | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole manifest.

    Attributes:
        format: ``segan.bundle/1``.
        name: a short name for people.
        resolution: height and width of an image, in pixels.
        img_channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA.
        z_dim: width of the input latent.
        w_dim: width of the intermediate latent.
        c_dim: number of classes, 0 for an unconditional generator.
        class_names: a name for each class, or empty.
        architecture: how the layers' images are joined.
        mode: where the subspaces act, 0 to 3.
        subspace: how they act, ``eigen`` or ``diagonal``.
        coords_dim: width K of ``coords``; subspaces with fewer dims ignore the rest.
        sites: the modulated convolutions in synthesis order.
        subspaces: the rows of ``coords``.
        noise: file with the constant noise, float32 [sum of the sites' r²], or None without noise.
        graphs: the graph files.
        opset: ONNX operator set of the graphs.
        lowering: how each upsampling site was lowered, by site name.
        provenance: checkpoint sha256, training configuration, versions.
        verification: what export measured, one entry for each precision and backend.
        files: sha256 of every file in the bundle but the manifest.
    """

    format: Literal["segan.bundle/1"]
    name: str
    resolution: int
    img_channels: int
    z_dim: int
    w_dim: int
    c_dim: int
    class_names: tuple[str, ...] = ()
    architecture: Architecture
    mode: Literal[0, 1, 2, 3]
    subspace: Literal["eigen", "diagonal"]
    coords_dim: int
    sites: tuple[Site, ...]
    subspaces: tuple[Subspace, ...]
    noise: str | None
    graphs: Graphs
    opset: int
    lowering: dict[str, str]
    provenance: dict[str, Any]
    verification: tuple[Verification, ...]
    files: dict[str, str]

    @property
    def num_sites(self) -> int:
        """Number of modulated convolutions."""
        return len(self.sites)

    @property
    def num_subspaces(self) -> int:
        """Number of rows of ``coords``."""
        return len(self.subspaces)

    def check(self) -> None:
        """Raises BundleError where two parts of the manifest contradict each other."""
        try:
            check_resolution(self.resolution)
        except ValueError as error:
            raise BundleError(f"manifest.json: {error}") from None
        _expect(
            1 <= self.img_channels <= 4, f"img_channels is {self.img_channels}; expected 1 to 4"
        )
        for name in ("z_dim", "w_dim"):
            _expect(
                getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; expected 1 or more"
            )
        _expect(self.c_dim >= 0, f"c_dim is {self.c_dim}; expected 0 or more")
        _expect(
            len(self.class_names) in (0, self.c_dim),
            f"{len(self.class_names)} class_names for {self.c_dim} classes",
        )
        _expect(bool(self.sites), "there are no sites")
        _expect(len({s.name for s in self.sites}) == len(self.sites), "a site is listed twice")
        for site in self.sites:
            _expect(
                4 <= site.resolution <= self.resolution and 0 <= site.layer <= self.resolution,
                f"site {site.name}: resolution {site.resolution} or layer {site.layer} cannot be",
            )
        seen = set()
        for row, subspace in enumerate(self.subspaces):
            where = f"subspace {row}"
            _expect(0 <= subspace.site < len(self.sites), f"{where}: no site {subspace.site}")
            _expect(
                subspace.layer == self.sites[subspace.site].layer,
                f"{where}: layer {subspace.layer} is not its site's layer",
            )
            _expect(
                1 <= subspace.dims <= self.coords_dim,
                f"{where}: dims is {subspace.dims}; expected 1 to coords_dim {self.coords_dim}",
            )
            _expect(subspace.index >= 0, f"{where}: index is {subspace.index}")
            _expect(subspace.low < subspace.high, f"{where}: low is not below high")
            _expect((subspace.layer, subspace.index) not in seen, f"{where}: listed twice")
            seen.add((subspace.layer, subspace.index))
        _expect("fp32" in self.graphs.synthesis, "graphs.synthesis has no fp32 entry")
        named = [self.graphs.mapping, self.graphs.offsets, *self.graphs.synthesis.values()]
        if self.noise is not None:
            named.append(self.noise)
        for file in named:
            _expect(file in self.files, f"{file!r} is used but not listed under files")


def _expect(holds: bool, message: str) -> None:
    if not holds:
        raise BundleError(f"manifest.json: {message}. Export the bundle again.")


def decode_manifest(data: bytes) -> Manifest:
    """Reads manifest.json's bytes.

    Raises:
        BundleError: not JSON, another format version, a missing or mistyped field, or parts that
            contradict each other.
    """
    manifest = decode_record(
        data,
        Manifest,
        name="manifest.json",
        format=FORMAT,
        error=BundleError,
        remedy="Export the bundle again.",
    )
    manifest.check()
    return manifest


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as indented JSON, ending in a newline."""
    return encode_record(manifest)
