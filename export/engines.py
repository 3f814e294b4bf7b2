"""TensorRT engines for a bundle: for the GPU that is here, or ahead of time for others."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from segan.runtime.backends.engine_settings import EngineSettings
from segan.runtime.backends.tensorrt.build import Progress, Target
from segan.runtime.backends.tensorrt.cache import engine_folder
from segan.runtime.backends.tensorrt.library import Library, find_library, why_no_library
from segan.runtime.backends.tensorrt.session import obtain, why_not
from segan.runtime.bundle.manifest import Verification, encode_manifest
from segan.runtime.bundle.reader import MANIFEST, Bundle, open_bundle
from segan.runtime.errors import BackendError, ConfigError, VerifyError
from segan.runtime.files.atomic import write_atomic
from segan.runtime.machine.gpus import cuda_devices, why_no_gpu

if TYPE_CHECKING:
    from segan.train.networks.stylegan2.generator import Generator

#: What engines are built for ahead of time, of what the library accepts. Older GPUs than these
#: multiply no fp32 matrices there; for any other one, engines are built where it is.
DEFAULT_CAPABILITIES = ("8.0", "8.6", "8.9", "12.0")

#: Precisions of graphs that TensorRT reads; those of the fp32 graph are the other two graphs' too.
PRECISIONS = ("fp32", "fp16", "bf16")


@dataclass(frozen=True, kw_only=True)
class EngineFile:
    """One engine of a bundle.

    Attributes:
        graph: ``mapping``, ``offsets`` or ``synthesis``.
        precision: of the graph.
        path: of the engine; None when it could not be kept.
        size: bytes.
        seconds: that building took.
        was_built: False when one that fits was there.
        target: what it runs on, in words.
    """

    graph: str
    precision: str
    path: Path | None
    size: int
    seconds: float
    was_built: bool
    target: str


def parse_capabilities(text: str) -> tuple[str, ...]:
    """Reads ``8.9,12.0``, and compares with what the installed library builds for.

    Raises:
        ConfigError: it is not a list of compute capabilities, the library does not build for one of
            them, or it does not build ahead of time.
    """
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for part in found:
        if not re.fullmatch(r"\d{1,2}\.\d", part):
            raise ConfigError(
                f"--trt-arch is {text!r}; expected compute capabilities such as 8.9,12.0."
            )
    library = find_library()
    if library is None:
        return found
    accepted = library.capabilities()
    if not accepted:
        raise ConfigError(
            f"--trt-arch is {text}, but {library.name} builds for the GPU that is here. Leave it "
            "out, or run: pip install 'segan[tensorrt-rtx]'"
        )
    for part in found:
        if part not in accepted:
            raise ConfigError(
                f"--trt-arch names {part}; {library.name} {library.version} builds for "
                f"{', '.join(accepted)}."
            )
    return found


def choose_target(capabilities: Sequence[str] = ()) -> tuple[Library, Target]:
    """What engines can be built with here, and for what.

    Args:
        capabilities: build ahead of time for these; empty takes the GPU that is here, and without
            one ``DEFAULT_CAPABILITIES``.

    Raises:
        BackendError: no library is installed, or it needs a GPU and there is none.
    """
    library = find_library()
    if library is None:
        raise BackendError(why_no_library() or "")
    if capabilities:
        return library, Target(capabilities=tuple(capabilities))
    problem = why_no_gpu()
    if problem is None:
        return library, Target.of(cuda_devices()[0])
    accepted = library.capabilities()
    if not accepted:
        raise BackendError(
            f"{library.name} builds engines on the GPU that runs them, and {problem}. Do it on "
            "a machine with one; or build ahead of time, with: pip install 'segan[tensorrt-rtx]'"
        )
    chosen = tuple(name for name in DEFAULT_CAPABILITIES if name in accepted)
    return library, Target(capabilities=chosen or accepted[-1:])


def build_engines(
    path: Path,
    *,
    capabilities: Sequence[str] = (),
    settings: EngineSettings | None = None,
    on_progress: Callable[[str, float, str], None] | None = None,
) -> tuple[EngineFile, ...]:
    """Builds the engines of a bundle's graphs in all its precisions, where there are none yet.

    Args:
        path: the bundle; engines lie in its folder ``engines``, or in the user's cache where that
            cannot be written.
        capabilities: see ``choose_target``.
        settings: how to build.
        on_progress: called with the graph and its precision, how much of it is done, 0 to 1, and a
            few words.

    Raises:
        BackendError: the engines cannot be built here.
        BundleError: the bundle is damaged.
        OutputError: engines can be kept nowhere.
    """
    library, target = choose_target(capabilities)
    bundle = open_bundle(path)
    folder = engine_folder(path)
    found = []
    for graph, precision, file in _graphs(bundle):
        stored = obtain(
            bundle.read(file),
            name=graph,
            precision=precision,
            target=target,
            library=library,
            folder=folder,
            settings=settings,
            on_progress=_named(on_progress, f"{graph} {precision}"),
        )
        found.append(
            EngineFile(
                graph=graph,
                precision=precision,
                path=stored.path,
                size=stored.record.size,
                seconds=stored.record.seconds,
                was_built=stored.was_built,
                target=str(stored.record.target),
            )
        )
    return tuple(found)


def _graphs(bundle: Bundle) -> list[tuple[str, str, str]]:
    """(graph, precision, file) of every engine."""
    graphs = bundle.manifest.graphs
    found = [("mapping", "fp32", graphs.mapping), ("offsets", "fp32", graphs.offsets)]
    there = [name for name in PRECISIONS if name in graphs.synthesis]
    return found + [("synthesis", name, graphs.synthesis[name]) for name in there]


def _case_teller(step: Callable[[str], None], precision: str) -> Callable[[str], None]:
    return lambda case: step(f"verifying the {precision} engines: {case}")


def _named(on_progress: Callable[[str, float, str], None] | None, name: str) -> Progress | None:
    if on_progress is None:
        return None
    return lambda share, phase: on_progress(name, share, phase)


def why_unverified(capabilities: Sequence[str] = ()) -> str | None:
    """Why engines that were built for these cannot be verified here; None where they can."""
    if capabilities:
        return "they were built ahead of time"
    return why_not()


def verify_engines(
    generator: Generator,
    path: Path,
    *,
    tolerance: float,
    batch_sizes: Sequence[int],
    on_step: Callable[[str], None] | None = None,
) -> tuple[Verification, ...]:
    """Compares the images of a bundle's engines with the generator's, and notes it in the manifest.

    Args:
        generator: on the CPU, float32, in evaluation mode.
        path: the bundle's folder.
        tolerance: of fp32. Another precision has the tolerance that the bundle's own graph of that
            precision was verified with.
        batch_sizes: that are run.
        on_step: called with a few words before each case.

    Returns:
        A record for each precision, which now stands in the manifest.

    Raises:
        VerifyError: the images differ by more; the manifest and the ONNX graphs stay as they were.
        BackendError: the engines do not run.
        OutputError: the manifest cannot be written.
    """
    from segan.export.reference import fresh_seeds, make_reference
    from segan.export.verify import verify_bundle

    step = on_step or (lambda _: None)
    manifest = open_bundle(path).manifest
    allowed, least = {"fp32": tolerance}, dict[str, float]()
    for record in manifest.verification:
        allowed.setdefault(record.precision, record.tolerance)
        # What a half-precision graph had to reach, its engine has to reach.
        least.setdefault(record.precision, getattr(record, "min_psnr_db", None) or 0.0)
    seeds = fresh_seeds(sum(batch_sizes), str(manifest.provenance.get("weights_sha256", "")))
    records = []
    precisions = [name for name in PRECISIONS if name in manifest.graphs.synthesis]
    with tempfile.TemporaryDirectory() as folder:
        reference = make_reference(
            generator, manifest, Path(folder), seeds=seeds, batch_sizes=batch_sizes
        )
        for precision in precisions:
            result = verify_bundle(
                reference,
                path,
                tolerance=allowed.get(precision, tolerance),
                backend="tensorrt",
                precision=precision,
                on_case=_case_teller(step, precision),
            )
            if not result.passed or result.psnr_db < least.get(precision, 0.0):
                raise VerifyError(
                    f"the {precision} engines' images differ from the checkpoint's by up to "
                    f"{result.max_error:.2g}, PSNR {result.psnr_db:.1f} dB; the tolerance is "
                    f"{result.record.tolerance:g}. The bundle is written and verified on the CPU; "
                    "do not use --backend tensorrt with it here."
                )
            records.append(result.record)
    kept = [
        record
        for record in manifest.verification
        if (record.backend, record.precision) not in {(r.backend, r.precision) for r in records}
    ]
    changed = msgspec.structs.replace(manifest, verification=(*kept, *records))
    write_atomic(path / MANIFEST, encode_manifest(changed))
    return tuple(records)
