"""Further precisions of a bundle's synthesis graph: fp16, bf16 and int8, each verified."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import torch
from torch import nn

from segan.export.graphs.family import graphs_of
from segan.export.graphs.lowering import Lowering
from segan.export.memory import release_memory
from segan.export.precisions import HalfPrecision, ReducedPrecision, graph_name
from segan.export.precisions.int8 import draft_int8
from segan.export.precisions.verify import (
    ReducedResult,
    reduced_seed_count,
    styled_batches,
    verify_reduced,
)
from segan.export.reference import fresh_seeds
from segan.export.to_onnx import to_onnx
from segan.runtime.bundle.manifest import Manifest, Verification
from segan.runtime.bundle.writer import BundleDraft
from segan.runtime.errors import VerifyError
from segan.runtime.generate.generator import load
from segan.train.networks.family import Generator

#: Batch of the example inputs. Any values do; torch.export would treat a batch of 1 as fixed.
EXAMPLES = 2

#: (count, purpose) → that many seeds, different for each purpose.
Seeds = Callable[[int, str], list[int]]


def add_precisions(
    draft: BundleDraft,
    manifest: Manifest,
    generator: Generator,
    precisions: tuple[ReducedPrecision, ...],
    step: Callable[[str], None],
) -> tuple[Manifest, VerifyError | None]:
    """Add synthesis graphs to a draft whose fp32 graphs are written and verified.

    Args:
        draft: the bundle.
        manifest: as it is in ``draft``.
        generator: on the CPU, float32, in evaluation mode.
        precisions: what to add.
        step: called with a few words before each step.

    Returns:
        The manifest with the graphs and their verification, which is written too; and the error
        of the int8 graph where its images miss a limit. Such a graph is left out.

    Raises:
        ExportError: a graph cannot be written.
        VerifyError: the images of a half-precision graph miss a limit.
        OutputError: the bundle cannot be written.
    """
    refused: VerifyError | None = None
    sha256 = manifest.provenance["weights_sha256"]

    def seeds(count: int, purpose: str) -> list[int]:
        return fresh_seeds(count, f"{purpose} {sha256}")

    for precision in precisions:
        if precision == "int8":
            manifest, refused = _add_int8(draft, manifest, generator, seeds, step)
            continue
        lowering: Mapping[str, Any] = manifest.lowering
        draft.add(*half_file(generator, lowering, precision, step))
        manifest = _with_graph(draft, manifest, precision)
        bound = {"half_precision": {"activation_bound": graphs_of(generator).activation_bound}}
        manifest = msgspec.structs.replace(manifest, provenance=manifest.provenance | bound)
        results = _verify(draft, manifest, precision, seeds, step)
        for result in results:
            result.check()
        manifest = _with_records(manifest, [result.record for result in results])
        draft.write_manifest(manifest)
        release_memory()
    return manifest, refused


def _with_graph(draft: BundleDraft, manifest: Manifest, precision: ReducedPrecision) -> Manifest:
    graphs = msgspec.structs.replace(
        manifest.graphs, synthesis=manifest.graphs.synthesis | {precision: graph_name(precision)}
    )
    return msgspec.structs.replace(manifest, graphs=graphs, files=dict(draft.files))


def _with_records(manifest: Manifest, records: list[Verification]) -> Manifest:
    return msgspec.structs.replace(manifest, verification=(*manifest.verification, *records))


def _verify(
    draft: BundleDraft,
    manifest: Manifest,
    precision: ReducedPrecision,
    seeds: Seeds,
    step: Callable[[str], None],
) -> list[ReducedResult]:
    draft.write_manifest(manifest)
    count = reduced_seed_count(manifest.resolution)
    return verify_reduced(draft.path, precision, seeds=seeds(count, "half"), on_step=step)


def half_file(
    generator: Generator,
    lowering: Mapping[str, Lowering],
    precision: HalfPrecision,
    step: Callable[[str], None],
) -> tuple[str, bytes]:
    """Make the synthesis graph in half precision.

    Args:
        generator: on the CPU, float32, in evaluation mode.
        lowering: form of each upsampling site, by name.
        precision: fp16 or bf16.
        step: called with a few words first.

    Returns:
        The file's name and bytes.

    Raises:
        ExportError: see ``to_onnx``.
    """
    name = graph_name(precision)
    step(f"exporting {name}")
    module = graphs_of(generator).synthesis(half_lowering(lowering, precision), precision)
    return name, synthesis_onnx(generator, module)


def half_lowering(
    lowering: Mapping[str, Lowering], precision: HalfPrecision
) -> Mapping[str, Lowering]:
    """Return the forms of a half-precision graph: TensorRT has no transposed bf16 convolution."""
    if precision == "fp16":
        return lowering
    return {site: "subpixel" if form == "transposed" else form for site, form in lowering.items()}


def synthesis_onnx(generator: Generator, module: nn.Module) -> bytes:
    """Return a synthesis module as a serialized ONNX model. Raises: ExportError."""
    sites, w_dim = len(generator.network.sites), generator.network.w_dim
    inputs = {"ws": torch.zeros(EXAMPLES, sites, w_dim)}
    if generator.subspace.mode == 1:
        inputs["shifts"] = torch.zeros(EXAMPLES, *generator.coords_shape)
    inputs["noise"] = generator.synthesis.noise_const().detach()
    return to_onnx(module, inputs, ["image"], own_batch={"noise": "noise_batch"})


def _add_int8(
    draft: BundleDraft,
    manifest: Manifest,
    generator: Generator,
    seeds: Seeds,
    step: Callable[[str], None],
) -> tuple[Manifest, VerifyError | None]:
    """Quantise from the lowest resolution that the limits allow: low ones save the least."""
    step("calibrating int8")
    with load(draft.path, "cpu", precision="fp32", low_memory=True) as reference:
        # More images than are compared: values beyond what calibration saw are clipped.
        count = min(64, 4 * reduced_seed_count(manifest.resolution))
        calibration = styled_batches(reference, seeds(count, "calibrate int8"))
    forms: Mapping[str, Any] = manifest.lowering
    quantizable = draft_int8(
        generator,
        forms,
        lambda module: synthesis_onnx(generator, module),
        [batch.feeds() for batch in calibration],
    )
    release_memory()
    before, results = manifest, list[ReducedResult]()
    for lowest in quantizable.resolutions():
        step(f"quantising from {lowest} x {lowest} on")
        draft.add(graph_name("int8"), quantizable.quantize(lowest))
        manifest = _with_graph(draft, before, "int8")
        provenance = {"int8": {"from_resolution": lowest, "calibration_images": count}}
        manifest = msgspec.structs.replace(manifest, provenance=manifest.provenance | provenance)
        results = _verify(draft, manifest, "int8", seeds, step)
        if all(result.failure is None for result in results):
            manifest = _with_records(manifest, [result.record for result in results])
            draft.write_manifest(manifest)
            return manifest, None
    draft.remove(graph_name("int8"))
    draft.write_manifest(before)
    failure = next(result.failure for result in results if result.failure is not None)
    return before, VerifyError(
        f"{failure.problem}, with int8 at the last resolution alone",
        field=failure.field,
        value=failure.value,
        expected=failure.expected,
        remedy="The bundle was written without the int8 graph.",
    )
