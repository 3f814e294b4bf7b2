"""``export_bundle``: writes a checkpoint, or a generator in memory, as a verified bundle."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch

from segan.export.carry_over import check_replaced
from segan.export.finishing import ExportResult, commit_draft, verify_draft
from segan.export.graphs import OPSET
from segan.export.graphs.family import graphs_of
from segan.export.graphs.lowering import DEFAULT_LOWERING, LOWERINGS, Lowering
from segan.export.memory import frugal_memory, release_memory
from segan.export.precisions import REDUCED, ReducedPrecision
from segan.export.reference import Reference, fresh_seeds, make_reference
from segan.runtime.bundle.manifest import Graphs, Manifest
from segan.runtime.bundle.reader import ATTRIBUTES
from segan.runtime.bundle.writer import (
    BundleDraft,
    BundleFiles,
    check_replaceable,
    check_target,
    zip_path,
)
from segan.runtime.errors import ConfigError, VerifyError
from segan.train.networks.family import Generator, manifest_fields
from segan.train.runs.checkpoint import LoadedGenerator, load_generator, resolve_checkpoint

if TYPE_CHECKING:
    from segan.export.tuning import TuneConfig

GRAPHS = Graphs(
    mapping="mapping.onnx", offsets="offsets.onnx", synthesis={"fp32": "synthesis.onnx"}
)
NOISE = "noise.npy"

#: Libraries whose versions the bundle states.
_LIBRARIES = ("segan", "torch", "onnx", "onnxscript", "onnxruntime", "numpy")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Settings of an export.

    Attributes:
        name: display name of the bundle; None takes the name of the training data.
        lowering: form of every upsampling site: ``transposed``, ``subpixel`` or ``folded``; None
            takes the default of each site.
        site_lowering: form of single sites, by name (``b64.conv0``); overrides ``lowering``.
        tolerance: largest allowed difference of a pixel from the PyTorch generator, images in
            [-1, 1]; more than 0.
        precisions: further precisions of the synthesis graph, each once: ``fp16``, ``bf16``,
            ``int8``. fp32 is always written.
        tune: time every form of each upsampling site and take the fastest; None does not.
        batch_sizes: batch sizes that verification runs, each 1 or more.
        zip: also write the bundle as one file, NAME.segan.zip.
        provenance: further entries of the manifest's provenance.

    Raises:
        ConfigError: an unknown form or precision, or a number out of its range.
    """

    name: str | None = None
    lowering: Lowering | None = None
    site_lowering: Mapping[str, Lowering] = field(default_factory=dict)
    tolerance: float = 1e-4
    precisions: tuple[ReducedPrecision, ...] = ()
    tune: TuneConfig | None = None
    batch_sizes: tuple[int, ...] = (1, 3, 8)
    zip: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        forms = [*self.site_lowering.values()]
        for form in forms if self.lowering is None else [self.lowering, *forms]:
            if form not in LOWERINGS:
                raise ConfigError(
                    field="lowering", value=form, expected=f"one of {', '.join(LOWERINGS)}"
                )
        for precision in self.precisions:
            if precision not in REDUCED or self.precisions.count(precision) > 1:
                raise ConfigError(
                    field="precisions",
                    value=self.precisions,
                    expected=f"each of {', '.join(REDUCED)} at most once",
                    remedy="fp32 is always written.",
                )
        if self.tune is not None and (self.lowering is not None or self.site_lowering):
            raise ConfigError(
                "`tune` chooses the form of upsampling, and `lowering` sets it",
                field="tune",
                value=self.tune,
                remedy="Leave `lowering` or `tune` out.",
            )
        if not (math.isfinite(self.tolerance) and self.tolerance > 0):
            raise ConfigError(
                field="tolerance", value=self.tolerance, expected="more than 0, such as 1e-4"
            )
        if not self.batch_sizes or min(self.batch_sizes) < 1:
            raise ConfigError(
                field="batch_sizes", value=self.batch_sizes, expected="numbers of 1 or more"
            )

    def table(self, generator: Generator) -> dict[str, Lowering]:
        """Return the form of each upsampling site of a generator, by name.

        Raises:
            ConfigError: ``site_lowering`` names a site that is not an upsampling site.
        """
        sites = {site.name: site for site in generator.network.sites if site.kind == "up"}
        for name in self.site_lowering:
            if name not in sites:
                raise ConfigError(
                    f"{name!r} in `site_lowering` is not an upsampling site",
                    field="site_lowering",
                    value=name,
                    expected=f"one of {', '.join(sites)}",
                )
        return {
            name: self.site_lowering.get(name, self.lowering or DEFAULT_LOWERING[site.resolution])
            for name, site in sites.items()
        }


def export_bundle(
    source: Generator | LoadedGenerator | Path | str,
    out: Path | str,
    config: ExportConfig | None = None,
    *,
    overwrite: bool = True,
    on_step: Callable[[str], None] | None = None,
) -> ExportResult:
    """Write a generator as a verified bundle of three ONNX graphs.

    The images of the bundle are compared with those of the PyTorch generator, for several psi,
    noise modes, slider values and batch sizes. The bundle appears under its name only after that.

        config = ExportConfig(precisions=("fp16",))
        result = export_bundle("runs/00000-faces", "faces.segan", config)
        print(result.verification.max_error, result.verification.psnr_db)

    Args:
        source: a run or checkpoint folder; the result of ``load_generator``; or a generator,
            which is not changed.
        out: the bundle's folder, NAME.segan. An existing bundle is replaced at the end; its names
            and directions are taken over, see ``carry_over``.
        config: None takes the defaults.
        overwrite: whether an existing bundle may be replaced.
        on_step: called with a few words before each step.

    Returns:
        The written files, the manifest, and the measured differences.

    Raises:
        ConfigError: ``out`` does not end in .segan, or a site name is unknown.
        CheckpointError: the checkpoint is missing, damaged or a pickle.
        ExportError: a graph cannot be written.
        VerifyError: the images differ by more than the tolerance; nothing is written.
        OutputError: ``out`` is not a bundle, has names or directions of another generator, or
            cannot be written.
    """
    start = time.perf_counter()
    config = config or ExportConfig()
    out = Path(out)
    check_target(out, overwrite=overwrite)
    if config.zip:
        check_replaceable(zip_path(out), overwrite=overwrite)
    step = on_step or (lambda _: None)
    if isinstance(source, Path | str):
        step("loading the checkpoint")
        source = load_generator(resolve_checkpoint(Path(source)))
    if isinstance(source, LoadedGenerator):
        check_replaced(out, bundle_provenance(source.meta.sha256, source))
    name = config.name or (source.meta.name if isinstance(source, LoadedGenerator) else out.stem)
    with frugal_memory(), BundleDraft(out, overwrite=overwrite) as draft:
        with draft.scratch() as scratch:
            manifest, reference = draft_bundle(source, draft, scratch, config, name, step)
            manifest, verification = verify_draft(
                draft, manifest, reference, config.tolerance, step
            )
        refused: VerifyError | None = None
        if config.precisions:
            from segan.export.precisions.add import add_precisions

            generator = source.generator if isinstance(source, LoadedGenerator) else source
            manifest, refused = add_precisions(
                draft, manifest, _as_exported(generator), config.precisions, step
            )
        return commit_draft(
            draft, out, manifest, verification, zip=config.zip, start=start, refused=refused
        )


def draft_bundle(
    source: Generator | LoadedGenerator,
    draft: BundleFiles,
    scratch: Path,
    config: ExportConfig,
    name: str,
    step: Callable[[str], None],
) -> tuple[Manifest, Reference]:
    """Write the files of a bundle, still unverified, and the generator's reference images.

    Args:
        source: a generator, which is not changed.
        draft: receives the fp32 graphs and the manifest.
        scratch: folder for the images.
        config: how to export; its ``name`` is not used.
        name: display name of the bundle.
        step: called with a few words before each step.

    Returns:
        The manifest, as written, and the reference images.

    Raises:
        ConfigError, ExportError, VerifyError, OutputError: see ``export_bundle``.
    """
    loaded = source if isinstance(source, LoadedGenerator) else None
    generator = _as_exported(source.generator if isinstance(source, LoadedGenerator) else source)
    lowering: Mapping[str, Lowering] = config.table(generator)
    tuned: dict[str, Any] = {}
    if config.tune is not None:
        from segan.export.tuning import tune_lowering

        tuning = tune_lowering(
            generator, lowering, config.tune, on_site=lambda site: step(f"timing {site}")
        )
        lowering, tuned = tuning.lowering, {"tuning": tuning.as_dict()}
    sha256 = loaded.meta.sha256 if loaded else _weights_sha256(generator)
    manifest = Manifest(
        **manifest_fields(generator),
        graphs=GRAPHS,
        noise=NOISE,
        opset=OPSET,
        name=name,
        class_names=loaded.meta.class_names if loaded else (),
        lowering=dict(lowering),
        provenance=bundle_provenance(sha256, loaded) | tuned | dict(config.provenance),
        verification=(),
        files={},
    )
    # Reference images come first, while the memory that the ONNX exporter keeps is still free.
    reference = make_reference(
        generator,
        manifest,
        scratch,
        seeds=fresh_seeds(sum(config.batch_sizes), sha256),
        batch_sizes=config.batch_sizes,
        on_case=lambda case: step(f"computing in PyTorch: {case}"),
    )
    for file, data in export_files(generator, lowering, step):
        draft.add(file, data)
        del data
    release_memory()
    manifest = msgspec.structs.replace(manifest, files=dict(draft.files))
    draft.write_manifest(manifest)
    return manifest, reference


def _as_exported(generator: Generator) -> Generator:
    """Return the generator on the CPU, float32, in evaluation mode: itself if possible."""
    tensors = [*generator.parameters(), *generator.buffers()]
    if not generator.training and all(
        value.device.type == "cpu" and value.dtype == torch.float32 and not value.requires_grad
        for value in tensors
    ):
        return generator
    return copy.deepcopy(generator).cpu().float().eval().requires_grad_(False)


def export_files(
    generator: Generator, lowering: Mapping[str, Lowering], step: Callable[[str], None]
) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a bundle except the manifest, (name, bytes), one at a time.

    Args:
        generator: on the CPU, float32, in evaluation mode.
        lowering: form of each upsampling site, by name.
        step: called with a few words before each graph.

    Raises:
        ExportError: see ``to_onnx``.
    """
    # Imported here: onnx is not in memory while the reference images are made.
    from segan.export.precisions.add import EXAMPLES, synthesis_onnx
    from segan.export.to_onnx import to_onnx

    network, noise = generator.network, generator.synthesis.noise_const().detach()
    n, num_sites = EXAMPLES, len(network.sites)
    latents = {"z": torch.zeros(n, network.z_dim)}
    if network.c_dim:
        latents["c"] = torch.zeros(n, network.c_dim)
    vectors = torch.zeros(n, num_sites, network.w_dim)
    styles = {"w": vectors, "psi": torch.zeros(n, num_sites)}
    if generator.table:
        styles["coords"] = torch.zeros(n, *generator.coords_shape)
    shifts = ["shifts"] if generator.subspace.mode == 1 else []
    graphs = graphs_of(generator)

    step(f"exporting {GRAPHS.mapping}")
    yield GRAPHS.mapping, to_onnx(graphs.mapping(), latents, ["w"])
    step(f"exporting {GRAPHS.offsets}")
    yield GRAPHS.offsets, to_onnx(graphs.offsets(), styles, ["ws", *shifts])
    step(f"exporting {GRAPHS.synthesis['fp32']}")
    release_memory()
    graph = synthesis_onnx(generator, graphs.synthesis(lowering))
    yield GRAPHS.synthesis["fp32"], graph
    del graph
    stream = io.BytesIO()
    np.save(stream, noise[0].numpy(), allow_pickle=False)
    yield NOISE, stream.getvalue()
    attributes = {"format": "segan.attributes/1", "attributes": []}
    yield ATTRIBUTES, json.dumps(attributes, indent=2).encode() + b"\n"


def bundle_provenance(sha256: str, loaded: LoadedGenerator | None) -> dict[str, Any]:
    """Return where the weights come from, and the versions that the graphs were written with."""
    found: dict[str, Any] = {"weights_sha256": sha256}
    if loaded is not None:
        meta = loaded.meta
        found["checkpoint"] = {
            "sha256": meta.sha256,
            "cur_nimg": meta.cur_nimg,
            "data": meta.name,
            "versions": dict(meta.versions),
        }
        found["training"] = msgspec.to_builtins(loaded.config)
    found["versions"] = {name: version(name) for name in _LIBRARIES}
    return found


def _weights_sha256(generator: Generator) -> str:
    """Return a hash of a generator's weights in memory."""
    digest = hashlib.sha256()
    for name, value in generator.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()
