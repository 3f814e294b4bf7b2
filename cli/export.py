"""``segan export``: a run's generator as a bundle that was compared with the original."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segan.cli.options import json_option
from segan.runtime.errors import BackendError, ConfigError, VerifyError

if TYPE_CHECKING:
    from segan.export.exporter import ExportConfig
    from segan.export.finishing import ExportResult
    from segan.export.precisions.names import ReducedPrecision
    from segan.runtime.backends.tensorrt.bundle import EngineFile
    from segan.runtime.bundle.manifest import Manifest
    from segan.train.runs.checkpoint import LoadedGenerator

#: As in segan.export.graphs.stylegan2.lowering, which imports torch.
LOWERINGS = ("transposed", "subpixel", "folded")


@click.command(
    "export",
    epilog="Example: segan export runs/00000-faces-mode2-tiny -o faces.segan",
)
@click.argument("checkpoint", type=click.Path(path_type=Path), required=False)
@click.option(
    "--best",
    is_flag=True,
    help="Take the run's best checkpoint, by sliced Wasserstein distance, instead of its newest.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    show_default="the data's name, such as faces.segan",
    help="Folder of the bundle, NAME.segan; a bundle that is there is replaced.",
)
@click.option(
    "--name",
    default=None,
    show_default="the data's name",
    help="Name that the bundle states, for people.",
)
@click.option(
    "--lowering",
    type=click.Choice(LOWERINGS),
    default=None,
    show_default="the fastest measured",
    help="How upsampling is written: transposed convolution and filter; 2 x 2 convolution, "
    "DepthToSpace and filter; or one 3 x 3 convolution with the filter in it, and DepthToSpace.",
)
@click.option(
    "--tolerance",
    type=float,
    default=1e-4,
    show_default=True,
    help="Largest difference of a pixel that verification accepts, images in [-1, 1].",
)
@click.option("--fp16", is_flag=True, help="Also write the synthesis graph in fp16, for GPUs.")
@click.option(
    "--bf16",
    is_flag=True,
    help="Also write the synthesis graph in bf16: no faster than fp16, and 8 times as coarse.",
)
@click.option(
    "--int8",
    is_flag=True,
    help="Also write the synthesis graph in int8, for OpenVINO on processors: calibrated on "
    "sampled latents, and written only if the images hold.",
)
@click.option(
    "--tune",
    is_flag=True,
    help="Time every form of upsampling of every resolution on --backend, and take the fastest.",
)
@click.option(
    "--backend",
    default="auto",
    show_default="the best that works here",
    metavar="NAME",
    help="Backend to tune for: tensorrt, cuda, openvino or cpu.",
)
@click.option(
    "--precision",
    default="auto",
    show_default="the backend's own",
    metavar="NAME",
    help="Precision to tune for: fp32, or with openvino bf16.",
)
@click.option(
    "--trt",
    is_flag=True,
    help="Also build TensorRT engines: for the GPU that is here, verified on it; or without a GPU, "
    "with TensorRT for RTX, ahead of time.",
)
@click.option(
    "--trt-arch",
    default=None,
    show_default="the GPU that is here, else 8.0,8.6,8.9,12.0",
    metavar="LIST",
    help="Compute capabilities to build for ahead of time, with --trt.",
)
@click.option("--zip", "as_zip", is_flag=True, help="Also write it as one file, NAME.segan.zip.")
@json_option
def command(
    checkpoint: Path | None,
    best: bool,
    out: Path | None,
    name: str | None,
    lowering: str | None,
    tolerance: float,
    fp16: bool,
    bf16: bool,
    int8: bool,
    tune: bool,
    backend: str,
    precision: str,
    trt: bool,
    trt_arch: str | None,
    as_zip: bool,
    as_json: bool,
) -> None:
    """Write the generator of a run or checkpoint folder as a verified ONNX bundle.

    Without CHECKPOINT the newest run under ./runs is taken. The bundle's images are compared with
    the PyTorch generator's on fresh seeds, several batch sizes, psi and noise modes, with every
    slider moved. When they differ by more than the tolerance the command fails, and an older
    bundle of the same name stays as it was. Graphs of lower precision are compared with the fp32
    graph, on 64 seeds (fewer above 64 x 64) with every slider at and past its ends: fp16 must reach
    a PSNR of 45 dB over all images and 35 dB in each, bf16 35 and 25 dB,
    int8 35 and 28 dB. Without int8 images that hold, the bundle is written without that graph, and
    the command fails.

    With --trt, engines are put into the bundle's folder "engines". Only the user and machine that
    built them load them; others build their own from the graphs. When they cannot be built, the
    bundle stays and the command fails.
    """
    capabilities: tuple[str, ...] = ()
    if trt_arch is not None:
        from segan.runtime.backends.tensorrt.bundle import parse_capabilities

        if not trt:
            raise ConfigError("--trt-arch is given without --trt. Add --trt, or leave it out.")
        capabilities = parse_capabilities(trt_arch)
    if not tune and (backend, precision) != ("auto", "auto"):
        raise ConfigError(
            "--backend and --precision say what --tune is for. Add --tune, or leave them out."
        )
    # Nothing here needs torch until the checkpoint is known to be there.
    from segan.train.runs.checkpoint import load_generator, resolve_checkpoint

    found = resolve_checkpoint(checkpoint, best=best)
    click.echo(f"checkpoint: {_short(found)}", err=True)

    from segan.export.exporter import ExportConfig, export_bundle
    from segan.export.tuning import TuneConfig
    from segan.runtime.bundle.writer import bundle_name

    config = ExportConfig(
        name=name,
        lowering=lowering,  # type: ignore[arg-type]  # one of LOWERINGS: click checked it
        tolerance=tolerance,
        precisions=precisions_of(fp16=fp16, bf16=bf16, int8=int8),
        tune=TuneConfig(backend=backend, precision=precision) if tune else None,
        zip=as_zip,
    )
    loaded = load_generator(found)
    out = out or Path(bundle_name(loaded.meta.name))
    result = export_bundle(
        loaded, out, config, on_step=lambda text: click.echo(f"{text} ...", err=True)
    )
    # The bundle is whole by now, and stays even if there will be no engines.
    engines = _add_engines(loaded, result, capabilities, config) if trt else ()
    if as_json:
        click.echo(json.dumps(_as_dict(result, found) | {"engines": _listed(engines)}))
    else:
        _print(result)
        _print_engines(engines)
        click.echo(f"next: {_next_command(result.path, result.manifest)}")
    if result.refused is not None:
        raise VerifyError(result.refused)


def _add_engines(
    loaded: LoadedGenerator,
    result: ExportResult,
    capabilities: tuple[str, ...],
    config: ExportConfig,
) -> tuple[EngineFile, ...]:
    """Builds the engines, and verifies them where they run."""
    from segan.export.engines import verify_engines, why_unverified
    from segan.runtime.backends.tensorrt.bundle import build_engines

    told = {"": 0.0}

    def show(name: str, share: float, phase: str) -> None:
        # Plain lines: the builder cannot say how long it will take.
        if share >= told.setdefault(name, 0.0) + 0.1:
            told[name] = share
            click.echo(f"{name} engine: {share:4.0%}, {phase}", err=True)

    try:
        engines = build_engines(result.path, capabilities=capabilities, on_progress=show)
    except BackendError as error:
        raise BackendError(
            f"{result.path} is written and verified, but has no engines: {error.problem}",
            field=error.field,
            value=error.value,
            remedy=error.remedy,
        ) from None
    problem = why_unverified(capabilities)
    if problem is not None:
        click.echo(f"the engines' images were not verified: {problem}", err=True)
    else:
        records = verify_engines(
            loaded.generator,
            result.path,
            tolerance=config.tolerance,
            batch_sizes=config.batch_sizes,
            on_step=lambda text: click.echo(f"{text} ...", err=True),
        )
        for record in records:
            click.echo(
                f"verified on {record.backend} in {record.precision}: max error "
                f"{record.max_error:.1e} (tolerance {record.tolerance:g}), "
                f"PSNR {record.psnr_db:.1f} dB",
                err=True,
            )
    return engines


def _listed(engines: tuple[EngineFile, ...]) -> list[dict[str, Any]]:
    return [
        {
            "graph": engine.graph,
            "precision": engine.precision,
            "file": None if engine.path is None else str(engine.path),
            "bytes": engine.size,
            "seconds": engine.seconds,
            "target": engine.target,
        }
        for engine in engines
    ]


def _print_engines(engines: tuple[EngineFile, ...]) -> None:
    if not engines:
        return
    click.echo(f"engines for {engines[0].target}, which run on nothing else:")
    for engine in engines:
        name = f"{engine.graph} {engine.precision}"
        click.echo(f"  {name:<16}{_size(engine.size):>9}  built in {engine.seconds:.1f} s")


def precisions_of(*, fp16: bool, bf16: bool, int8: bool) -> tuple[ReducedPrecision, ...]:
    """The flags as ``ExportConfig.precisions``."""
    flags: dict[ReducedPrecision, bool] = {"fp16": fp16, "bf16": bf16, "int8": int8}
    return tuple(name for name, asked in flags.items() if asked)


def reduced_figures(manifest: Manifest) -> list[dict[str, Any]]:
    """What verification measured of the graphs of half precision, for --json."""
    names = ("precision", "backend", "psnr_db", "worst_psnr_db", "min_psnr_db", "max_error")
    return [
        {name: getattr(record, name) for name in names}
        for record in manifest.verification
        if record.min_psnr_db is not None
    ]


def print_reduced_figures(manifest: Manifest) -> None:
    """A line for each of them."""
    for record in manifest.verification:
        if record.min_psnr_db is not None:
            where = "with each result rounded" if record.backend == "emulated" else record.backend
            click.echo(
                f"verified {record.precision} on {len(record.seeds)} seeds, {where}: "
                f"PSNR {record.psnr_db:.1f} dB, worst image {record.worst_psnr_db:.1f} dB, "
                f"max error {record.max_error:.1e}"
            )


def _short(path: Path) -> Path:
    """The path from the current folder, where it lies below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _as_dict(result: ExportResult, checkpoint: Path) -> dict[str, Any]:
    record = result.verification.record
    return {
        "checkpoint": str(checkpoint),
        "bundle": str(result.path),
        "zip": None if result.zip_path is None else str(result.zip_path),
        "name": result.manifest.name,
        "files": result.sizes,
        "lowering": result.manifest.lowering,
        "backend": record.backend,
        "max_error": record.max_error,
        "psnr_db": record.psnr_db,
        "tolerance": record.tolerance,
        "cases": record.cases,
        "precisions": reduced_figures(result.manifest),
        "seconds": round(result.seconds, 3),
        "verify_seconds": round(result.verification.seconds, 3),
    }


def _print(result: ExportResult) -> None:
    record = result.verification.record
    click.echo(f"wrote {result.path} in {result.seconds:.1f} s")
    for name, size in result.sizes.items():
        if name.endswith(".onnx"):
            click.echo(f"  {name:<20}{_size(size):>9}")
    if result.zip_path is not None:
        click.echo(f"  {result.zip_path} holds the same in one file")
    batches = ", ".join(str(size) for size in record.batch_sizes)
    click.echo(
        f"verified on {record.backend}: max error {record.max_error:.1e} "
        f"(tolerance {record.tolerance:g}), PSNR {record.psnr_db:.1f} dB, "
        f"{len(record.cases)} cases, batches of {batches}"
    )
    print_reduced_figures(result.manifest)


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def _next_command(path: Path, manifest: Manifest) -> str:
    bundle = shlex.quote(str(path))
    if not manifest.subspaces:
        return f"segan generate {bundle} --seeds 0-63 -o out"
    # Middle layers show the most; index 0 needs no option.
    rows = [row for row in manifest.subspaces if row.index == 0]
    row = rows[min(3, len(rows) - 1)]
    return f"segan sweep {bundle} --layer {row.layer} --dim {min(5, row.dims - 1)}"
