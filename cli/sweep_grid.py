"""Sweeps in two dimensions: a sheet or an animation of one slider against another."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segan.cli.option_values import parse_range
from segan.cli.options import Style
from segan.cli.progress import progress
from segan.runtime.bundle.layout import Slider
from segan.runtime.errors import ConfigError
from segan.runtime.latents.seeds import SeedList, parse_seeds

if TYPE_CHECKING:
    from segan.runtime.generate.generator import Generator
    from segan.runtime.generate.sweep import SweptSlider
    from segan.runtime.latents.files import Latents

#: Rows of a sheet.
ROW_STEPS = 5


@dataclass(frozen=True, kw_only=True)
class GridSweep:
    """Two sliders over their values, for each of the seeds.

    Attributes:
        generator: makes the images.
        style: as every way of generating has it.
        cols: the slider that changes from column to column, or over time.
        rows: the slider that changes from row to row, or in an animation from picture to picture.
        col_values: its values.
        row_values: its values.
        seeds: a sheet each; rows of one animation.
        latents: where given, seeds are positions in them.
        batch_size: images computed at once.
    """

    generator: Generator
    style: Style
    cols: SweptSlider
    rows: SweptSlider
    col_values: list[float]
    row_values: list[float]
    seeds: SeedList
    latents: Latents | None
    batch_size: int

    @property
    def images(self) -> int:
        """How many images it takes."""
        return len(self.seeds) * len(self.col_values) * len(self.row_values)

    def _grid(self, seed: int, update: Callable[[float], None]) -> Any:
        from segan.runtime.generate.sweep import as_key

        images = self.generator.sweep_grid(
            seed,
            as_key(self.cols),
            as_key(self.rows),
            col_values=self.col_values,
            row_values=self.row_values,
            batch_size=self.batch_size,
            latents=self.latents,
            **self.style,
        )
        update(len(self.col_values) * len(self.row_values))
        return images

    def write_sheets(
        self, out: Path | None, scale: int | None, update: Callable[[float], None]
    ) -> list[Path]:
        """A labelled sheet for each seed; several seeds get ``-seed3`` before the ending."""
        from segan.runtime.pictures.sheets import labelled_sheet, value_label, write_sheet

        path = out or Path(f"sweep-{self.cols.slider}-by-{self.rows.slider}.png")
        what = "seed" if self.latents is None else "latent"
        across, down = _called(self.cols), _called(self.rows)
        written = []
        for seed in self.seeds:
            sheet = labelled_sheet(
                self._grid(seed, update),
                rows=[f"{down}  {value_label(value)}" for value in self.row_values],
                cols=[value_label(value) for value in self.col_values],
                title=f"{across} across, {down} down",
                subtitle=f"{self.generator.manifest.name}, {what} {seed}",
                scale=scale,
            )
            own = path
            if len(self.seeds) > 1:
                own = path.with_name(f"{path.stem}-{what}{seed}{path.suffix}")
            write_sheet(own, sheet)
            written.append(own)
        return written

    def write_animation(
        self, out: Path, fps: float, scale: int | None, update: Callable[[float], None]
    ) -> list[Path]:
        """The columns as time, there and back; rows' values side by side, seeds below another."""
        import numpy as np

        from segan.runtime.pictures.video import write_animation

        grids = [self._grid(seed, update) for seed in self.seeds]
        steps = len(self.col_values)
        frames = (
            np.concatenate([np.concatenate(grid[:, step], axis=1) for grid in grids], axis=0)
            for step in [*range(steps), *range(steps - 2, 0, -1)]
        )
        write_animation(out, frames, fps=fps, scale=scale)
        return [out]


def plan_grid(
    generator: Generator,
    style: Style,
    sliders: tuple[Slider | str, str],
    ranges: tuple[str | None, str | None],
    steps: tuple[int, int | None],
    *,
    seeds: SeedList | None,
    latents: Latents | None,
    batch_size: int,
) -> GridSweep:
    """A grid from what the user typed; each pair is that of the columns and that of the rows.

    Raises:
        ConfigError: an unknown slider or name, one that is set as well, or a range or number of
            steps that cannot be.
        BundleError: the bundle's attributes are damaged.
    """
    from segan.runtime.generate.sweep import named_or_placed

    cols, rows = (named_or_placed(generator.bundle, slider, style["sliders"]) for slider in sliders)
    row_steps = ROW_STEPS if steps[1] is None else steps[1]
    return GridSweep(
        generator=generator,
        style=style,
        cols=cols,
        rows=rows,
        col_values=_spread(cols, ranges[0], steps[0], "--range", "--steps"),
        row_values=_spread(rows, ranges[1], row_steps, "--by-range", "--by-steps"),
        seeds=parse_seeds("0") if seeds is None else seeds,
        latents=latents,
        batch_size=batch_size,
    )


def _spread(
    over: SweptSlider, limits: str | None, steps: int, range_option: str, steps_option: str
) -> list[float]:
    """Values from the low to the high end of the range that was given, or of the slider's."""
    import numpy as np

    if steps < 2:
        raise ConfigError(f"{steps_option} is {steps}; expected 2 or more.")
    own = (over.low, over.high)
    low, high = own if limits is None else parse_range(limits, range_option)
    return [float(value) for value in np.linspace(low, high, steps)]


def draw_grid(
    grid: GridSweep,
    out: Path | None,
    animated: bool,
    fps: float,
    scale: int | None,
    as_json: bool,
) -> None:
    """Draws the grid with its progress, and says what was written. Raises: ConfigError."""
    if not len(grid.seeds):
        raise ConfigError("there are no seeds; expected 1 or more.")
    with progress(grid.images, "images", "sweeping") as bar:
        if animated:
            assert out is not None
            written = grid.write_animation(out, fps, scale, bar.update)
        else:
            written = grid.write_sheets(out, scale, bar.update)
    if as_json:
        entry = {
            "sliders": [str(grid.cols.slider), str(grid.rows.slider)],
            "attributes": [grid.cols.name, grid.rows.name],
            "seeds": list(grid.seeds),
            "values": [round(value, 6) for value in grid.col_values],
            "by_values": [round(value, 6) for value in grid.row_values],
        }
        click.echo(json.dumps([{"path": str(path), **entry} for path in written]))
        return
    for path in written:
        click.echo(
            f"{path}: {grid.cols.name or grid.cols.slider} by {grid.rows.name or grid.rows.slider}"
            f", {len(grid.col_values)} x {len(grid.row_values)} values."
        )


def _called(swept: SweptSlider) -> str:
    return swept.name or str(swept.slider)
