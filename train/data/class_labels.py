"""The class of each image of a source: by its dataset.json, or by its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

from segan.runtime.errors import DataError
from segan.train.data.labels import read_labels, read_metadata, stated_keys
from segan.train.data.sources import METADATA_NAME, ImageSource

Labels = Literal["auto", "folders", "none"]

#: Folders that are named in a sentence.
_SHOWN = 10


class ClassLabels(NamedTuple):
    """The classes of a source's images.

    Attributes:
        classes: one for each image, in the order of the source's names; None without labels.
        names: one for each class; empty without labels.
        note: why there are no labels, or why dataset.json gives none, sentences; may be empty.
            Settings are in backticks.
    """

    classes: list[int] | None
    names: tuple[str, ...]
    note: str = ""


def choose_labels(source: ImageSource, labels: Labels) -> ClassLabels:
    """Return the classes of a source's images.

    Args:
        source: the images.
        labels: see ``convert_images``.

    Raises:
        DataError: dataset.json is broken, or with ``folders`` an image lies in no folder.
    """
    if labels == "none":
        return ClassLabels(None, ())
    folders = _folders(source.names)
    if labels == "auto":
        metadata = read_metadata(source)
        note = ""
        if metadata is not None:
            if bytes(metadata.labels):
                given, class_names = read_labels(source, source.names)
                return ClassLabels(None if given is None else given.tolist(), class_names)
            note = _no_labels_key(source)
        elif any(METADATA_NAME in group.kind for group in source.passed_over):
            note = (
                f"a {METADATA_NAME} in a sub-folder gives no labels, since it is not the only one "
                "or images lie outside of its folder"
            )
        why = _why_no_classes(folders, source.names)
        if why is not None:
            return ClassLabels(None, (), "; ".join(filter(None, (note, why))))
        return ClassLabels(*_by_folder(folders), note)
    for folder, name in zip(folders, source.names, strict=True):
        if folder is None:
            raise DataError(
                f"{name} in {source.path} is not in a sub-folder",
                field="source_path",
                value=source.path,
                expected="every image in the folder of its class",
                remedy="Pass `labels none` to convert without labels.",
            )
    return ClassLabels(*_by_folder(folders))


def _no_labels_key(source: ImageSource) -> str:
    keys = [key for key in stated_keys(source) if key not in ("class_names", "attributes")]
    stated = f" but {', '.join(map(repr, keys))}" if keys else ""
    return f"{METADATA_NAME} states no 'labels'{stated}, so it gives none"


def _why_no_classes(folders: Sequence[str | None], names: Sequence[str]) -> str | None:
    """Why the folders are not classes, empty if there are none; None if they are."""
    found = sorted({folder for folder in folders if folder is not None})
    outside = [name for folder, name in zip(folders, names, strict=True) if folder is None]
    listed = ", ".join(found[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")
    if found and outside:
        images = "image lies" if len(outside) == 1 else "images lie"
        return (
            f"the sub-folders {listed} are not used as classes, since {len(outside)} {images} "
            f"outside of them, such as {outside[0]}; move such images into one, or remove them"
        )
    if len(found) > 1 and any(folder.isdecimal() for folder in found):
        return (
            f"the sub-folders {listed} are not used as classes, since their names are plain "
            "numbers, which usually only split a large set; pass `labels folders` to use them"
        )
    return None if len(found) > 1 else ""


def _by_folder(folders: Sequence[str | None]) -> tuple[list[int], tuple[str, ...]]:
    class_names = tuple(sorted({folder for folder in folders if folder is not None}))
    numbers = {name: number for number, name in enumerate(class_names)}
    return [numbers[folder] for folder in folders if folder is not None], class_names


def _folders(names: Sequence[str]) -> list[str | None]:
    """The top folder of each image, below the folders that all images share."""
    parents = [PurePosixPath(name).parts[:-1] for name in names]
    shared = 0
    for level in zip(*parents, strict=False):
        if len(set(level)) > 1:
            break
        shared += 1
    if shared and all(len(parts) == shared for parts in parents):
        shared -= 1  # all lie in the same folder
    return [parts[shared] if len(parts) > shared else None for parts in parents]
