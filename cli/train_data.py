"""The images that ``segan train`` trains on: the user's, or the built-in faces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from segan.cli.progress import progress
from segan.cli.train_settings import Shape
from segan.runtime.errors import CheckpointError, DataError

if TYPE_CHECKING:
    from segan.train.data.dataset import ImageDataset

#: The attribute of the built-in faces that --cond trains on.
FACES_LABELS = "glasses"


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
        """Of the classes, before they are drawn; empty without labels."""
        if self.labels is None:
            return ()
        from segan.train.data.faces.attributes import label_names

        return label_names(self.labels)

    def shape(self) -> Shape:
        """The shape of the set, before it is drawn."""
        classes = len(self.class_names)
        return {"resolution": self.resolution, "img_channels": 3, "c_dim": classes}

    def draw(self, quiet: bool = False) -> ImageDataset:
        """Draws them into memory, with a progress bar. Raises: ConfigError, DataError."""
        from segan.train.data.faces.render import faces_dataset

        words = f"drawing faces of {self.resolution}²"
        with progress(self.faces, "faces", words, quiet=quiet) as bar:
            return faces_dataset(
                self.faces, self.resolution, labels=self.labels, on_progress=bar.update
            )


def open_images(path: Path, cache: str) -> ImageDataset:
    """The user's data set; see ``open_dataset``."""
    from segan.train.data.dataset import open_dataset

    return open_dataset(path, cache=cache)


def shape_of(dataset: ImageDataset, cond: bool) -> Shape:
    """What the networks must fit. Raises: DataError when labels are wanted and missing."""
    if cond and dataset.labels is None:
        raise DataError(
            f"--cond needs labels, and {dataset.name} has no labels. Convert a folder with one "
            "sub-folder for each class: segan data convert FOLDER OUT.zip --labels folders"
        )
    return {
        "resolution": dataset.resolution,
        "img_channels": dataset.img_channels,
        "c_dim": len(dataset.class_names) if cond else 0,
    }


def origin(source: Faces | Path, dataset: ImageDataset) -> dict[str, Any]:
    """What is written to the run's data.json, for ``remembered_data``."""
    where: dict[str, Any] = (
        {"faces": source._asdict()}
        if isinstance(source, Faces)
        else {"path": str(source.resolve())}
    )
    return where | {"fingerprint": dataset.fingerprint}


def remembered_data(run: Path, data: Path | None, cache: str, quiet: bool = False) -> ImageDataset:
    """The data that a run was started on.

    Args:
        run: its folder.
        data: where the user says that it lies now; None takes the place that the run remembers.
        cache: as in ``open_dataset``.
        quiet: whether to show no progress.

    Raises:
        CheckpointError: data.json is missing or broken, or these are other images than then.
        DataError: the images cannot be read.
    """
    record: dict[str, Any] = {}
    try:
        record = json.loads((run / "data.json").read_bytes())
        source = Path(record["path"]) if "path" in record else _faces(record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if data is None:
            raise CheckpointError(
                f"{run / 'data.json'} does not say where the data is ({error}). Pass --data."
            ) from None
        record, source = {}, data
    source = source if data is None else data
    dataset = source.draw(quiet) if isinstance(source, Faces) else open_images(source, cache)
    if record.get("fingerprint", dataset.fingerprint) != dataset.fingerprint:
        raise CheckpointError(
            f"{dataset.name} holds other images or labels than when {run} was started. Pass the "
            "same --data, or start a new run."
        )
    return dataset


def _faces(record: dict[str, Any]) -> Faces:
    found = record["faces"]
    return Faces(int(found["faces"]), int(found["resolution"]), found.get("labels"))


def faces_count(run: Path) -> int | None:
    """How many built-in faces the run draws; None where it trains on other data."""
    try:
        return _faces(json.loads((run / "data.json").read_bytes())).faces
    except (OSError, ValueError, KeyError, TypeError):
        return None
