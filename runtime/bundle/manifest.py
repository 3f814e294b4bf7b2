"""``manifest.json``: what a bundle holds, how it was made, and what its verification measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from segan.runtime.bundle.layout import Architecture, Site, Subspace, check_resolution
from segan.runtime.errors import BundleError, ConfigError
from segan.runtime.files.json_record import decode_record, encode_record

FORMAT = "segan.bundle/1"

#: Largest width of a latent and most classes; published generators have at most 1024 and 1000.
MAX_WIDTH = 1 << 16
#: Most sites, subspaces and coordinates of an image. A generator of 1024² has 26 sites, and each
#: run of 'segan directions' adds a subspace for each of its 9 layers.
MAX_SITES, MAX_SUBSPACES, MAX_COORDS = 1024, 4096, 1 << 20
#: Longest name of the generator, a class or a site, in characters; file systems allow 255 bytes.
MAX_TEXT = 300
#: Largest magnitude of an end of a slider's range.
MAX_COORDINATE = 1e6
#: Most files of a bundle, which uses about ten.
MAX_FILES = 4096

_REMEDY = "Export or copy the bundle again."


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
        """The number of modulated convolutions."""
        return len(self.sites)

    @property
    def num_subspaces(self) -> int:
        """The number of rows of ``coords``."""
        return len(self.subspaces)

    def check(self, where: str = "manifest.json") -> None:
        """Make sure that no two parts of the manifest contradict each other.

        Args:
            where: names the manifest in errors.

        Raises:
            BundleError: naming the first contradiction.
        """
        for problem, expected in self._contradictions():
            raise BundleError(
                f"{where}: {problem}", field="bundle", expected=expected, remedy=_REMEDY
            )

    def _contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield (problem, expected); each check relies on those before."""
        try:
            check_resolution(self.resolution)
        except ConfigError as error:
            yield f"resolution is {error.value}", error.expected
        if not 1 <= self.img_channels <= 4:
            yield f"img_channels is {self.img_channels}", "1 to 4"
        for name, lowest in (("z_dim", 1), ("w_dim", 1), ("c_dim", 0), ("coords_dim", 0)):
            if not lowest <= getattr(self, name) <= MAX_WIDTH:
                yield f"{name} is {getattr(self, name)}", f"{lowest} to {MAX_WIDTH}"
        limits = {"sites": MAX_SITES, "subspaces": MAX_SUBSPACES, "files": MAX_FILES}
        for name, most in limits.items():
            if len(getattr(self, name)) > most:
                yield f"there are {len(getattr(self, name))} {name}", f"at most {most}"
        if self.num_subspaces * self.coords_dim > MAX_COORDS:
            yield f"there are {self.num_subspaces} x {self.coords_dim} coords", f"{MAX_COORDS}"
        texts = (self.name, *self.class_names, *(site.name for site in self.sites))
        if any(len(text) > MAX_TEXT for text in texts):
            yield "a name, class or site has too many characters", f"at most {MAX_TEXT}"
        if len(self.class_names) not in (0, self.c_dim):
            yield f"there are {len(self.class_names)} class_names for {self.c_dim} classes", ""
        if not self.sites:
            yield "there are no sites", ""
        if len({site.name for site in self.sites}) < len(self.sites):
            yield "a site is listed twice", ""
        for site in self.sites:
            if not 4 <= site.resolution <= self.resolution:
                yield (
                    f"site {site.name}: resolution is {site.resolution}",
                    f"4 to {self.resolution}",
                )
            if not 0 <= site.layer <= self.resolution:
                yield f"site {site.name}: layer is {site.layer}", "the number of a layer"
        seen = set()
        for row, subspace in enumerate(self.subspaces):
            where = f"subspace {row}"
            if not 0 <= subspace.site < len(self.sites):
                yield f"{where}: there is no site {subspace.site}", ""
            if subspace.layer != (layer := self.sites[subspace.site].layer):
                yield f"{where}: layer is {subspace.layer}", f"{layer}, the layer of its site"
            if not 1 <= subspace.dims <= self.coords_dim:
                yield f"{where}: dims is {subspace.dims}", f"1 to {self.coords_dim}, the coords_dim"
            if subspace.index < 0:
                yield f"{where}: index is {subspace.index}", "0 or more"
            if not -MAX_COORDINATE <= subspace.low < subspace.high <= MAX_COORDINATE:
                yield (
                    f"{where}: the range is {subspace.low:g} to {subspace.high:g}",
                    f"a low end below the high one, from -{MAX_COORDINATE:g} to {MAX_COORDINATE:g}",
                )
            if (subspace.layer, subspace.index) in seen:
                yield f"{where} is listed twice", ""
            seen.add((subspace.layer, subspace.index))
        if "fp32" not in self.graphs.synthesis:
            yield "graphs.synthesis has no fp32 entry", ""
        for file in self.file_names():
            if file not in self.files:
                yield f"{file!r} is used but not listed under files", ""

    def file_names(self) -> list[str]:
        """Return the names of the files that are used: the graphs and the noise."""
        names = [self.graphs.mapping, self.graphs.offsets, *self.graphs.synthesis.values()]
        return names if self.noise is None else [*names, self.noise]


def decode_manifest(data: bytes, where: str = "manifest.json") -> Manifest:
    """Read the bytes of manifest.json; ``where`` names them in errors.

    Raises:
        BundleError: not JSON, another format version, a missing or mistyped field, or parts that
            contradict each other.
    """
    manifest = decode_record(
        data, Manifest, name=where, format=FORMAT, error=BundleError, remedy=_REMEDY
    )
    manifest.check(where)
    return manifest


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest as indented JSON that ends in a newline."""
    return encode_record(manifest)
