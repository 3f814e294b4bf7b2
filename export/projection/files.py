"""The files of a projection: latents, pictures, a video, and a sweep of the sliders."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segan.export.projection.project import Projection, ProjectionConfig, render
from segan.export.verify import psnr_db
from segan.runtime.bundle.layout import Slider, Subspace
from segan.runtime.bundle.manifest import Manifest
from segan.runtime.files.atomic import make_folder, write_atomic
from segan.runtime.generate.generator import Generator as BundleGenerator
from segan.runtime.generate.probe import Probe
from segan.runtime.generate.renderer import Renderer
from segan.runtime.generate.sweep import sweep_values
from segan.runtime.latents.files import PROJECTED, SITES, Latents
from segan.runtime.pictures.sheets import labelled_sheet, value_label, write_sheet
from segan.runtime.pictures.video import write_animation
from segan.train.measure.models.torch_graphs import TorchGraphs
from segan.train.networks.family import Generator

LATENTS, RECORD = PROJECTED, "projected.json"
COMPARISON, SWEEP = "comparison.png", "sweep.png"

#: Values of a slider on the sheet, and largest number of sliders, shared by the subspaces.
_STEPS, _MAX_SLIDERS = 5, 36

#: Frames a second of the video, and how many times its last frame is repeated.
_FPS, _HELD = 15.0, 15


def output_names(video: str | None) -> list[str]:
    """Return the names of all files that ``write_projection`` may write."""
    return [LATENTS, COMPARISON, SWEEP, RECORD, *([] if video is None else [f"progress.{video}"])]


def write_projection(
    folder: Path,
    found: Projection,
    config: ProjectionConfig,
    generator: Generator,
    *,
    about: dict[str, Any],
    video: str | None = "gif",
    bundle: BundleGenerator | None = None,
    on_step: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Write the latents, a comparison, a video and a sweep of the sliders.

    Args:
        folder: output folder, created if missing. Files of an earlier projection are replaced.
        found: the projection.
        config: its settings.
        generator: its generator.
        about: further entries of the record, such as the photo's name.
        video: ``gif``, ``mp4``, or None for no video.
        bundle: bundle of the generator whose sliders are swept; None sweeps the generator's own.
        on_step: called with a few words before each file.

    Returns:
        The record, as written to ``projected.json``.

    Raises:
        BackendError: mp4 without an encoder.
        OutputError: a file cannot be written.
    """
    step = on_step or (lambda _: None)
    make_folder(folder)
    files = {"latents": LATENTS, "comparison": COMPARISON}
    # The names of the rows' sites tell these latents from those of other generators.
    names = [site.name for site in generator.network.sites]
    arrays: dict[str, Any] = {"w": found.w[None], SITES: np.array(names)}
    if found.coords is not None:
        arrays["coords"] = found.coords[None]
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    write_atomic(folder / LATENTS, stream.getvalue(), follow=True)

    step(f"drawing {COMPARISON}")
    pictures = np.stack([found.target, found.start, found.image])[None]
    sheet = labelled_sheet(
        pictures,
        rows=[""],
        cols=["photo", "mean image", "projected"],
        title=f"Projected into {config.space} in {config.steps} steps",
        subtitle=f"mean squared error {found.start_mse:.3g} to {found.mse:.3g}; {found.features}",
    )
    write_sheet(folder / COMPARISON, sheet)
    if video is not None:
        files["video"] = f"progress.{video}"
        step(f"drawing {files['video']}")
        frames = [np.concatenate([found.target, image], 1) for image in _along(generator, found)]
        held = [frames[-1]] * _HELD
        write_animation(folder / files["video"], [*frames, *held], fps=_FPS)
    renderer = Renderer(TorchGraphs(generator)) if bundle is None else bundle
    if renderer.manifest.subspaces:
        step(f"drawing {SWEEP}")
        files["sweep"] = SWEEP
        sliders = _sliders(renderer.manifest.subspaces)
        write_sheet(folder / SWEEP, _sweep_sheet(_swept(renderer, found, sliders), sliders))
    record = {
        **about,
        "space": config.space,
        "steps": config.steps,
        "features": found.features,
        "distance_first": found.distances[0],
        "distance": found.distances[-1],
        "mse_mean_image": found.start_mse,
        "mse": found.mse,
        "psnr_db": round(psnr_db(found.mse), 2),
        "files": files,
    }
    write_atomic(folder / RECORD, json.dumps(record, indent=2).encode() + b"\n", follow=True)
    return record


def _along(generator: Generator, found: Projection) -> list[NDArray[np.uint8]]:
    """Return the images of the intermediate latents."""
    images = []
    for first in range(0, len(found.path), 8):
        part = found.path[first : first + 8]
        coords = [a for _, a in part if a is not None]
        w = np.stack([w for w, _ in part])
        images += list(render(generator, w, np.stack(coords) if coords else None))
    return images


def _sliders(subspaces: tuple[Subspace, ...]) -> list[tuple[Slider, Subspace]]:
    """Return the sliders that are swept, each with its subspace."""
    each = max(1, _MAX_SLIDERS // len(subspaces))
    found = [
        (Slider(subspace.layer, subspace.index, dim), subspace)
        for subspace in subspaces
        for dim in range(min(each, subspace.dims))
    ]
    return found[:_MAX_SLIDERS]


def _swept(
    renderer: Renderer, found: Projection, sliders: list[tuple[Slider, Subspace]]
) -> NDArray[np.uint8]:
    """Return each slider over its range on the projected latent: [sliders, _STEPS, H, W, C]."""
    latents = Latents(found.w[None], _padded(found.coords, renderer.manifest))
    probe = Probe(renderer, 0, renderer.settings(latents=latents))
    return np.stack(
        [
            probe.images({slider: sweep_values(subspace, _STEPS)}, [0] * _STEPS)
            for slider, subspace in sliders
        ]
    )


def _padded(coords: NDArray[np.float32] | None, manifest: Manifest) -> NDArray[np.float32] | None:
    """Return coordinates with zeros for the directions that only a bundle has."""
    if coords is None:
        return None
    wide = np.zeros((1, manifest.num_subspaces, manifest.coords_dim), np.float32)
    rows, width = min(len(coords), wide.shape[1]), min(coords.shape[1], wide.shape[2])
    wide[0, :rows, :width] = coords[:rows, :width]
    return wide


def _sweep_sheet(images: NDArray[np.uint8], sliders: list[tuple[Slider, Subspace]]) -> Any:
    alike = len({(subspace.low, subspace.high) for _, subspace in sliders}) == 1
    values = sweep_values(sliders[0][1], _STEPS)
    labels = ["low", "", "middle", "", "high"]
    return labelled_sheet(
        images,
        rows=[str(slider) for slider, _ in sliders],
        cols=[value_label(value) for value in values] if alike else labels,
        title="The projected image under each slider",
        subtitle="" if alike else "each over its own range",
    )
