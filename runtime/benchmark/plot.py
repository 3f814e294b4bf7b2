"""The plot of a benchmark: images a second by batch size, with the ceilings."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from typing import Any, get_args

from segan.runtime.backends.registry import BACKENDS
from segan.runtime.backends.session import Precision
from segan.runtime.errors import ConfigError, OutputError
from segan.runtime.files.atomic import write_atomic
from segan.runtime.printable import printable

_FORMATS = (".png", ".pdf", ".svg")

#: Four lightnesses of a colour, one for each precision, for the backends in the registry's order.
_COLOURS = (
    ("#a9d49a", "#4a9a36", "#77b865", "#2b6b1b"),
    ("#f2c38b", "#d9822b", "#e6a25a", "#a85d12"),
    ("#8fb8e8", "#2f74c0", "#5a97d8", "#174a86"),
    ("#8a8f98", "#6b7078", "#b0b4bb", "#4c5057"),
)
_INK = "#30343a"

#: Largest ratio of rates that is drawn on a linear scale.
_LINEAR = 30


def check_plot(path: Path) -> None:
    """Check that the plot can be drawn.

    Raises:
        ConfigError: the file's name does not end in png, pdf or svg.
        OutputError: matplotlib is missing.
    """
    if path.suffix.lower() not in _FORMATS:
        raise ConfigError(
            field="plot", value=path, expected=f"a name that ends in {', '.join(_FORMATS)}"
        )
    if importlib.util.find_spec("matplotlib") is None:
        raise OutputError(
            "`plot` needs matplotlib, which is not installed",
            field="plot",
            value=path,
            remedy="Run: pip install matplotlib",
        )


def write_plot(path: Path, record: dict[str, Any]) -> None:
    """Draw a group of bars for each batch size, each with its spread and its share of the ceiling.

    Args:
        path: a png, pdf or svg.
        record: see ``segan.runtime.benchmark.record.benchmark_record``; it has rows.

    Raises:
        OutputError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    rows = record["rows"]
    batches = sorted({row["batch"] for row in rows})
    series = list(dict.fromkeys((row["backend"], row["precision"]) for row in rows))
    width = 0.8 / len(series)
    size = (max(6.4, 1.6 + len(batches) * (0.6 + 0.62 * len(series))), 4.6)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for number, (backend, precision) in enumerate(series):
        own = {
            row["batch"]: row
            for row in rows
            if (row["backend"], row["precision"]) == (backend, precision)
        }
        places = [batches.index(batch) + (number - (len(series) - 1) / 2) * width for batch in own]
        _draw(axes, places, list(own.values()), width, f"{backend} {precision}")
    machine, bundle = record["machine"], record["bundle"]
    axes.set_xticks(range(len(batches)), [f"batch {batch}" for batch in batches])
    axes.set_ylabel("images a second")
    low, high = _range(rows)
    if high > _LINEAR * low:
        axes.set_yscale("log")
        axes.set_ylim(low / 2, high * 2)
        axes.yaxis.set_major_formatter("{x:,.10g}")
    else:
        axes.set_ylim(0, 1.15 * high)
        axes.yaxis.set_major_formatter("{x:,g}")
    if any(row["bound_images_per_s"] is not None for row in rows):
        axes.plot([], [], "--", color=_INK, linewidth=1, label="ceiling")
    axes.grid(axis="y", color="#e3e5e8", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    hardware = " + ".join([machine["processor"], *(gpu["name"] for gpu in machine["gpu"])])
    model = f"{printable(bundle['name'])}, {bundle['resolution']}²"
    axes.set_title(
        f"{model}: {hardware}, {machine['threads_used']} threads",
        fontsize=10,
        loc="left",
        # A dollar sign in the bundle's name would begin a formula.
        parse_math=False,
    )
    columns = max(1, int(size[0] / 1.8))
    figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:].lower())
    write_atomic(path, buffer.getvalue(), follow=True)


def _draw(
    axes: Any, places: list[float], rows: list[dict[str, Any]], width: float, label: str
) -> None:
    """Draw one series: bars, the rounds' spread, the ceiling as a line, its share as a number."""
    backend, precision = label.split()
    shades = _COLOURS[[*BACKENDS].index(backend) % len(_COLOURS)]
    colour = shades[get_args(Precision).index(precision)]
    rates = [row["images_per_s"] for row in rows]
    spread = [
        [row["images_per_s"] - row["slowest"] for row in rows],
        [row["fastest"] - row["images_per_s"] for row in rows],
    ]
    axes.bar(places, rates, 0.9 * width, color=colour, label=label)
    axes.errorbar(places, rates, spread, fmt="none", ecolor=_INK, elinewidth=1, capsize=2)
    for place, row in zip(places, rows, strict=True):
        rate, bound = row["images_per_s"], row["bound_images_per_s"]
        text = f"{rate:.3g}" if rate < 100 else f"{rate:,.0f}"
        if bound is not None:
            ends = place - 0.45 * width, place + 0.45 * width
            axes.hlines(bound, *ends, color=_INK, linestyle="dashed", linewidth=1)
            text += f"\n{row['of_ceiling']:.0%}"
        axes.annotate(
            text,
            (place, row["fastest"]),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            linespacing=1.1,
            # The number covers the ceiling's line.
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"},
        )


def _range(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """Return the lowest rate, and the highest value that is drawn."""
    lowest = min(row["slowest"] for row in rows)
    return lowest, max(max(row["fastest"], row["bound_images_per_s"] or 0) for row in rows)
