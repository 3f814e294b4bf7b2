"""``segan export``: writes a run's generator as a bundle that is compared with the original."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segan.cli.bundle_output import (
    bundle_output_options,
    figures,
    free_bundle,
    print_carried,
    print_next,
    print_verification,
    show_step,
)
from segan.cli.options import json_option
from segan.cli.standard_streams import echo
from segan.runtime.backends.registry import BACKENDS
from segan.runtime.errors import ConfigError

if TYPE_CHECKING:
    from segan.export.engines import EnginesResult
    from segan.export.exporter import ExportConfig
    from segan.export.finishing import ExportResult
    from segan.runtime.backends.tensorrt.bundle import EngineFile
    from segan.train.runs.checkpoint import LoadedGenerator


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
@bundle_output_options(source="data", tolerance=1e-4)
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
    help=f"Backend to tune for: {', '.join(BACKENDS)}.",
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
    help="Also build TensorRT engines: for the GPU of this machine, verified on it; or without a "
    "GPU, with TensorRT for RTX, ahead of time.",
)
@click.option(
    "--trt-arch",
    default=None,
    show_default="the GPU of this machine, else 8.0,8.6,8.9,12.0",
    metavar="LIST",
    help="Compute capabilities to build for ahead of time, with --trt.",
)
@json_option
def command(
    checkpoint: Path | None,
    best: bool,
    out: Path | None,
    overwrite: bool,
    settings: dict[str, Any],
    tune: bool,
    backend: str,
    precision: str,
    trt: bool,
    trt_arch: str | None,
    as_json: bool,
) -> None:
    """Write the generator of a run or checkpoint folder as a verified ONNX bundle.

    Without CHECKPOINT the newest run under ./runs is taken. The bundle's images are compared with
    the PyTorch generator's for fresh seeds, several batch sizes, psi and noise modes, with every
    slider moved. If they differ by more than the tolerance, the command fails, and an existing
    bundle of the same name is left unchanged. Graphs of lower precision are compared with the fp32
    graph on 64 seeds (fewer above 64 x 64), with every slider at and past its ends: fp16 must reach
    a PSNR of 45 dB over all images and 35 dB in each, bf16 35 and 25 dB, int8 35 and 28 dB. If the
    int8 images miss that, the bundle is written without the int8 graph, and the command fails.

    With --trt, engines are written to the bundle's folder "engines". They are loaded only by the
    user and machine that built them; others build their own from the graphs. If they cannot be
    built, the bundle stays and the command fails.
    """
    capabilities: tuple[str, ...] = ()
    if trt_arch is not None:
        from segan.runtime.backends.tensorrt.bundle import parse_capabilities

        if not trt:
            raise ConfigError(
                "--trt-arch needs --trt",
                field="trt_arch",
                value=trt_arch,
                remedy="Add --trt, or leave --trt-arch out.",
            )
        capabilities = parse_capabilities(trt_arch)
    if not tune and (backend, precision) != ("auto", "auto"):
        raise ConfigError(
            "--backend and --precision need --tune",
            field="backend" if backend != "auto" else "precision",
            value=backend if backend != "auto" else precision,
            remedy="Add --tune, or leave them out.",
        )
    # torch is imported only after the checkpoint is found.
    from segan.train.runs.checkpoint import load_generator, resolve_checkpoint

    found = resolve_checkpoint(checkpoint, best=best)
    here = Path.cwd()
    short = found.relative_to(here) if found.is_relative_to(here) else found
    echo(f"checkpoint: {short}", err=True)

    from segan.export.exporter import ExportConfig, export_bundle
    from segan.export.tuning import TuneConfig

    config = ExportConfig(
        **settings, tune=TuneConfig(backend=backend, precision=precision) if tune else None
    )
    loaded = load_generator(found)
    if out is None:
        out = _choose_name(found, loaded, overwrite, as_zip=config.zip)
    result = export_bundle(loaded, out, config, overwrite=overwrite, on_step=show_step)
    # The bundle is complete now, and stays even if the engines cannot be built.
    engines = _add_engines(loaded, result, capabilities, config) if trt else ()
    if as_json:
        listed = [_engine_as_dict(engine) for engine in engines]
        echo(json.dumps({"checkpoint": str(found), **_as_dict(result), "engines": listed}))
    else:
        _print(result)
        if engines:
            echo(f"engines for {engines[0].target}, which run only there:")
        for engine in engines:
            name = f"{engine.graph} {engine.precision}"
            echo(f"  {name:<16}{_size(engine.size):>9}  built in {engine.seconds:.1f} s")
        print_next(result.path, result.manifest)
    if result.refused is not None:
        raise result.refused


#: Number of a run's folder, such as 00001-faces-mode2-tiny.
_RUN = re.compile(r"(\d{5,})-.+")


def _choose_name(checkpoint: Path, loaded: LoadedGenerator, overwrite: bool, as_zip: bool) -> Path:
    """Return the data's name, with the run's number where another bundle has that already.

    With --overwrite, it is the name of the run's own bundle, if there is one.
    """
    from segan.export.carry_over import same_origin
    from segan.export.exporter import bundle_provenance
    from segan.runtime.bundle.writer import bundle_name

    number = _RUN.fullmatch(checkpoint.resolve().parent.parent.name)
    names = [loaded.meta.name, *([f"{loaded.meta.name}-{number[1]}"] if number else [])]
    paths = [Path(bundle_name(name)) for name in names]
    if overwrite:
        origin = bundle_provenance(loaded.meta.sha256, loaded)
        own = next((path for path in paths if same_origin(path, origin)), None)
        if own is not None:
            return own
    return free_bundle(*paths, as_zip=as_zip)


def _add_engines(
    loaded: LoadedGenerator,
    result: ExportResult,
    capabilities: tuple[str, ...],
    config: ExportConfig,
) -> tuple[EngineFile, ...]:
    """Build engines, and print progress and verification."""
    from segan.export.engines import add_engines

    shown = dict[str, float]()

    def show(name: str, share: float, phase: str) -> None:
        # Lines without a remaining time, which TensorRT's builder cannot tell.
        if share >= shown.setdefault(name, 0.0) + 0.1:
            shown[name] = share
            echo(f"{name} engine: {share:4.0%}, {phase}", err=True)

    engines: EnginesResult = add_engines(
        loaded.generator,
        result.path,
        tolerance=config.tolerance,
        batch_sizes=config.batch_sizes,
        capabilities=capabilities,
        on_progress=show,
        on_step=show_step,
    )
    if engines.unverified is not None:
        echo(f"the engines' images were not verified: {engines.unverified}", err=True)
    for record in engines.records:
        echo(
            f"verified on {record.backend} in {record.precision}: max error "
            f"{record.max_error:.1e} (tolerance {record.tolerance:g}), "
            f"PSNR {record.psnr_db:.1f} dB",
            err=True,
        )
    return engines.files


def _engine_as_dict(engine: EngineFile) -> dict[str, Any]:
    return {
        "graph": engine.graph,
        "precision": engine.precision,
        "file": None if engine.path is None else str(engine.path),
        "bytes": engine.size,
        "seconds": engine.seconds,
        "target": engine.target,
    }


def _as_dict(result: ExportResult) -> dict[str, Any]:
    record = result.verification.record
    return {
        **figures(result),
        "files": result.sizes,
        "lowering": result.manifest.lowering,
        "backend": record.backend,
        "cases": record.cases,
        "seconds": round(result.seconds, 3),
    }


def _print(result: ExportResult) -> None:
    echo(f"wrote {result.path} in {result.seconds:.1f} s")
    for name, size in result.sizes.items():
        if name.endswith(".onnx"):
            echo(f"  {name:<20}{_size(size):>9}")
    if result.zip_path is not None:
        echo(f"  {result.zip_path} holds the same in one file")
    print_carried(result)
    print_verification(result)


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"
