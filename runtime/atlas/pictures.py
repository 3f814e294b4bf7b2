"""An atlas's pictures: strips over strengths, heat maps, samples, and a sheet per subspace."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segan.runtime.atlas.record import Atlas, AtlasSlider
from segan.runtime.bundle.layout import Subspace
from segan.runtime.pictures.encode import to_pil
from segan.runtime.pictures.sheets import enlarge, labelled_sheet, value_label

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]

#: Colours of heat from least to most: dark violet, magenta, orange, pale yellow. Their lightness
#: rises evenly, so the map works in grey, too.
_HEAT = np.array(
    [(24, 15, 61), (84, 20, 109), (158, 47, 127), (222, 73, 104), (254, 159, 109), (252, 253, 191)],
    np.float32,
)
#: Smallest and largest side of a picture in a strip, in pixels, and that of many strips.
_SMALLEST, _LARGEST, _OF_MANY = 96, 160, 96
#: From this number of sliders on, strips are small, to keep the folder within some megabytes.
_MANY = 48
_SAMPLE_COLS = 8


def cell_side(atlas: Atlas) -> int:
    """Return the side of one picture in the strips, in pixels."""
    resolution = int(atlas.samples.shape[1])
    whole = resolution * -(-_SMALLEST // resolution)
    return min(whole, _LARGEST if len(atlas.sliders) < _MANY else _OF_MANY)


def heat_picture(entry: AtlasSlider, side: int) -> Image.Image:
    """Return a map of where a slider changes images, over the mean of its images.

    The most changed pixel is pale yellow for any effect; a dead slider has no heat.
    """
    heat = entry.measured.heat
    strength = heat / heat.max() if not entry.figures.dead else np.zeros_like(heat)
    grey = _visible(entry.images.reshape(-1, *entry.images.shape[2:])).mean((0, 3))
    base = np.float32(0.42) * (grey - grey.mean()) + 52
    at = np.linspace(0, 1, len(_HEAT))
    colours = np.stack([np.interp(strength, at, _HEAT[:, c]) for c in range(3)], -1)
    shown = np.sqrt(strength)[..., None]
    mixed = (1 - shown) * base[..., None] + shown * colours
    pixels = np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)
    return to_pil(pixels).resize((side, side), Image.Resampling.BICUBIC)


def strip_picture(images: Images, side: int) -> Image.Image:
    """Return a picture with seeds as rows and strengths as columns, without gaps.

    Args:
        images: uint8 [S, T, H, W, C].
        side: of one picture, in pixels.
    """
    rows, cols = images.shape[:2]
    sheet = Image.new("RGB", (cols * side, rows * side))
    for row in range(rows):
        for col in range(cols):
            sheet.paste(_cell(images[row, col], side), (col * side, row * side))
    return sheet


def samples_picture(atlas: Atlas, side: int) -> Image.Image:
    """Return the seeds with no slider set, at most two rows of eight."""
    images = atlas.samples[: 2 * _SAMPLE_COLS]
    cols = min(_SAMPLE_COLS, len(images))
    rows = len(images) // cols
    return strip_picture(images[: rows * cols].reshape(rows, cols, *images.shape[1:]), side)


def subspace_sheet(atlas: Atlas, subspace: Subspace, side: int) -> Image.Image | None:
    """Return a labelled sheet of a subspace's sliders on the first seed, with their heat maps.

    The best slider is first. None if no slider of the subspace was measured.
    """
    entries = [
        entry
        for entry in atlas.sliders
        if (entry.slider.layer, entry.slider.index) == (subspace.layer, subspace.index)
    ]
    if not entries:
        return None
    rows = []
    for entry in entries:
        cells = [_cell(image, side) for image in entry.images[0]]
        rows.append([np.asarray(cell) for cell in (*cells, heat_picture(entry, side))])
    site = atlas.manifest.sites[subspace.site]
    return labelled_sheet(
        np.asarray(rows, np.uint8),
        rows=[f"{entry.rank}.  {entry.name or entry.slider}" for entry in entries],
        cols=[*_columns(entries, atlas.config.steps), "where"],
        title=f"L{subspace.layer}N{subspace.index}: layer {subspace.layer} "
        f"({site.name}, {site.resolution} x {site.resolution})",
        subtitle=f"{atlas.manifest.name}, seed {atlas.config.seeds[0]}; ranked among "
        f"{len(atlas.sliders)} sliders",
        scale=1,
    )


def webp(picture: Image.Image, quality: int = 88) -> bytes:
    """Encode a picture as a WebP file."""
    data = io.BytesIO()
    picture.save(data, "WEBP", quality=quality, method=4)
    return data.getvalue()


def png(picture: Image.Image) -> bytes:
    """Encode a picture as a PNG file."""
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


def _columns(entries: Sequence[AtlasSlider], steps: int) -> list[str]:
    """Labels of the strengths; only "low" and "high" if the sliders' ranges differ."""
    values = {entry.values for entry in entries}
    if len(values) == 1:
        return [value_label(value) for value in entries[0].values]
    return ["low", *[""] * (steps - 2), "high"]


def _cell(image: NDArray[np.uint8], side: int) -> Image.Image:
    picture = enlarge(to_pil(image), 1)
    return picture.resize((side, side), Image.Resampling.LANCZOS)


def _visible(images: Images) -> Floats:
    """[N, H, W, colours] float32 without the alpha channel."""
    channels = images.shape[-1]
    return images[..., : channels - 1 if channels in (2, 4) else channels].astype(np.float32)
