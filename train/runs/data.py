"""The images of a run: the user's data set or the built-in faces, and the run's record of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from segan.runtime.errors import CheckpointError, ConfigError, DataError
from segan.runtime.files.atomic import write_atomic
from segan.train.data.dataset import ImageDataset, open_dataset
from segan.train.data.faces.attributes import label_names
from segan.train.data.faces.render import faces_dataset
from segan.train.runs.folder import DATA
from segan.train.runs.settings import Shape

#: Attribute of the built-in faces that labels them for a conditional run.
FACES_LABELS = "glasses"


class Drawing(NamedTuple):
    """Callbacks of a program that shows progress while faces are drawn.

    Attributes:
        start: called once, with the number of faces and their resolution.
        advance: called with the number of faces drawn since the last call.
    """

    start: Callable[[int, int], object] = lambda faces, resolution: None
    advance: Callable[[int], object] = lambda n: None


#: Shows no progress.
SILENT = Drawing()


class Faces(NamedTuple):
    """Which built-in faces are drawn.

    Attributes:
        faces: how many.
        resolution: height and width.
        labels: the attribute that labels them, or None.
    """

    faces: int
    resolution: int
    labels: str | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; empty without labels."""
        return () if self.labels is None else label_names(self.labels)

    def shape(self) -> Shape:
        """The shape of the set."""
        classes = len(self.class_names)
        return {"resolution": self.resolution, "img_channels": 3, "c_dim": classes}

    def draw(self, drawing: Drawing = SILENT) -> ImageDataset:
        """Draw them into memory. Raises: ConfigError, DataError."""
        drawing.start(self.faces, self.resolution)
        try:
            return faces_dataset(
                self.faces, self.resolution, labels=self.labels, on_progress=drawing.advance
            )
        except ConfigError as error:
            if error.field == "count":
                error.field = "faces"
            raise


def shape_of(dataset: ImageDataset, conditional: bool) -> Shape:
    """Return what the networks take from the data.

    Raises:
        DataError: ``conditional``, and the data has no labels.
    """
    if conditional and dataset.labels is None:
        raise DataError(
            f"{dataset.name} has no labels, which `conditional` needs",
            field="data",
            value=dataset.name,
            remedy="Convert a folder with one sub-folder for each class, as 'segan data convert "
            "--help' describes.",
        )
    return {
        "resolution": dataset.resolution,
        "img_channels": dataset.img_channels,
        "c_dim": len(dataset.class_names) if conditional else 0,
    }


def origin(source: Faces | Path, dataset: ImageDataset) -> dict[str, Any]:
    """Return the content of the run's data.json, which ``remembered_data`` reads."""
    where: dict[str, Any] = (
        {"faces": source._asdict()}
        if isinstance(source, Faces)
        else {"path": str(source.resolve())}
    )
    return where | {"fingerprint": dataset.fingerprint}


def remembered_data(
    run: Path, data: Path | None, cache: str = "auto", drawing: Drawing = SILENT
) -> ImageDataset:
    """Open the data that a run was started on.

    Args:
        run: its folder.
        data: where the data is now; None = where the run found it.
        cache: see ``open_dataset``.
        drawing: callbacks for progress.

    Raises:
        CheckpointError: data.json is missing or damaged, or the images or labels have changed.
        DataError: the images cannot be read.
    """
    record: dict[str, Any] = {}
    try:
        record = json.loads((run / DATA).read_bytes())
        source = Path(record["path"]) if "path" in record else _faces(record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if data is None:
            raise CheckpointError(
                f"{run / DATA} does not say where the data is ({error})",
                field="data",
                remedy="Pass `data PATH`.",
            ) from None
        record, source = {}, data
    if data is None and isinstance(source, Path) and not source.exists():
        raise CheckpointError(
            f"{source}, the data of {run}, does not exist any more",
            field="data",
            value=source,
            remedy="Pass `data PATH`: where it is now.",
        )
    source = source if data is None else data
    dataset = (
        source.draw(drawing) if isinstance(source, Faces) else open_dataset(source, cache=cache)
    )
    if record.get("fingerprint", dataset.fingerprint) != dataset.fingerprint:
        raise CheckpointError(
            f"{dataset.name} holds other images or labels than when {run} was started",
            field="data",
            value=data,
            remedy="Pass the same `data`, or start a new run.",
        )
    return dataset


def remember_data(run: Path, data: Path, dataset: ImageDataset) -> None:
    """Write down where the data of a resumed run is now. Raises: OutputError."""
    if faces_count(run) is None:
        record = origin(data, dataset)
        write_atomic(run / DATA, json.dumps(record, indent=2).encode() + b"\n")


def _faces(record: dict[str, Any]) -> Faces:
    found = record["faces"]
    return Faces(int(found["faces"]), int(found["resolution"]), found.get("labels"))


def faces_count(run: Path) -> int | None:
    """Return how many built-in faces the run draws; None where it trains on other data."""
    try:
        return _faces(json.loads((run / DATA).read_bytes())).faces
    except (OSError, ValueError, KeyError, TypeError):
        return None
