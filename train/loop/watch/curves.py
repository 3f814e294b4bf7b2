"""The training curves of a run as one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segan.runtime.files.atomic import atomic_file

#: Panels: title, and the log's fields with their labels.
PANELS: tuple[tuple[str, dict[str, str]], ...] = (
    ("losses", {"loss/generator": "generator", "loss/discriminator": "discriminator"}),
    ("regularisers", {"loss/r1": "R1", "loss/path_length": "path length"}),
    ("information term, error per coordinate", {"loss/information": "E(a − â)²"}),
    ("share of the images' variance", {"share_coords": "coords", "share_z": "z"}),
)


def write_curves(entries: list[dict[str, Any]], path: Path) -> None:
    """Draw the log's entries, over kimg, to a PNG. Raises: OutputError."""
    # The object interface leaves the user's own matplotlib state and backend alone.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [
        (title, {field: label for field, label in fields.items() if _has(entries, field)})
        for title, fields in PANELS
    ]
    panels = [(title, fields) for title, fields in panels if fields]
    if not panels:
        return
    figure = Figure(figsize=(9, 2.3 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, fields) in zip(
        figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0], panels, strict=True
    ):
        for field, label in fields.items():
            points = [(entry["kimg"], entry[field]) for entry in entries if field in entry]
            x, y = zip(*points, strict=True)
            axes.plot(x, y, label=label, marker="." if len(points) < 30 else None)
        axes.set_title(title, loc="left", fontsize=10)
        axes.legend(loc="upper right", frameon=False, fontsize=8)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("thousand real images shown (kimg)")
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=110)


def _has(entries: list[dict[str, Any]], field: str) -> bool:
    return any(field in entry for entry in entries)
