"""Attribute networks as files: tensors in half precision and a record; and those that ship.

DIR/attributes.safetensors   weights and the faces' feature statistics
DIR/attributes.json          format, resolution, training, held-out scores, sha256

The record is written last: a folder with a record is complete. segan ships one folder for each
resolution, ``attribute_networks/r16``, ``r32`` and ``r64``.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import torch

from segan.runtime.errors import CheckpointError, ConfigError
from segan.runtime.files.atomic import make_folder, sha256_file, write_atomic
from segan.runtime.files.json_record import decode_record, encode_record
from segan.train.measure.control.attribute_training import HeldOutScores
from segan.train.measure.control.attributes import READINGS, AttributeNetwork, Resolution
from segan.train.runs.tensors import matching_state, read_tensors, write_tensors
from segan.train.runs.versions import versions

FORMAT: Literal["segan.attributes/2"] = "segan.attributes/2"

WEIGHTS, RECORD = "attributes.safetensors", "attributes.json"

#: Folder of the networks that ship: r16, r32, r64.
NETWORKS = Path(__file__).with_name("attribute_networks")

_REMEDY = "Train the attribute network again."


class AttributeRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``attributes.json``.

    Attributes:
        format: ``segan.attributes/2``.
        resolution: at which the network sees images.
        attributes: what it reads, in the order of its outputs.
        faces: number of training faces.
        seed: of the training faces and of the initial weights.
        epochs: passes over the training faces.
        held_out: faces that the scores and the feature statistics come from.
        scores: R² of each continuous attribute and hue, accuracy of each categorical one.
        degraded: the same scores for the same faces blurred and with noise.
        versions: of segan and torch.
        sha256: of the tensor file.
    """

    format: Literal["segan.attributes/2"] = FORMAT
    resolution: Resolution
    attributes: tuple[str, ...]
    faces: int
    seed: int
    epochs: float
    held_out: int
    scores: dict[str, float]
    degraded: dict[str, float]
    versions: dict[str, str]
    sha256: str = ""


class LoadedAttributes(NamedTuple):
    """A network in evaluation mode, on the CPU, in float32, and its record."""

    network: AttributeNetwork
    record: AttributeRecord


def save_attributes(
    folder: Path,
    network: AttributeNetwork,
    *,
    faces: int,
    seed: int,
    epochs: float,
    held_out: int,
    scores: HeldOutScores,
) -> AttributeRecord:
    """Write a trained network.

    Raises:
        OutputError: it cannot be written.
    """
    make_folder(folder)
    weights = {name for name, _ in network.named_parameters()}
    state = {
        # Half precision suffices for the estimates, but not for statistics over many faces.
        name: value.half() if name in weights else value
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    write_tensors(folder / WEIGHTS, state)
    record = AttributeRecord(
        resolution=network.resolution,
        attributes=tuple(reading.name for reading in READINGS),
        faces=faces,
        seed=seed,
        epochs=epochs,
        held_out=held_out,
        scores=_rounded(scores.clean),
        degraded=_rounded(scores.degraded),
        versions=versions(),
        sha256=sha256_file(folder / WEIGHTS),
    )
    write_atomic(folder / RECORD, encode_record(record))
    return record


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(score, 5) for name, score in scores.items()}


def load_attributes(folder: Path) -> LoadedAttributes:
    """Read what ``save_attributes`` wrote.

    Raises:
        CheckpointError: a file is missing, altered, truncated or a pickle, or the network reads
            other attributes.
    """
    path = folder / RECORD
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror})",
            field="path",
            value=str(path),
            remedy="Give the folder of an attribute network.",
        ) from None
    record = decode_record(
        data, AttributeRecord, name=str(path), format=FORMAT, error=CheckpointError, remedy=_REMEDY
    )
    names = tuple(reading.name for reading in READINGS)
    if record.attributes != names:
        raise CheckpointError(
            f"{path} reads attributes that this segan's faces do not have",
            field="attributes",
            value=record.attributes,
            expected=", ".join(names),
            remedy=_REMEDY,
        )
    weights = folder / WEIGHTS
    tensors = read_tensors(weights)
    place: dict[str, str] = {"field": "path", "value": str(weights), "remedy": _REMEDY}
    if sha256_file(weights) != record.sha256:
        raise CheckpointError(
            f"{weights} was altered after it was written: its sha256 differs from {RECORD}", **place
        )
    network = AttributeNetwork(record.resolution)
    expected = {
        name: value
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    state = matching_state(tensors, expected, str(weights))
    if not all(bool(torch.isfinite(value).all()) for value in state.values()):
        raise CheckpointError(f"{weights} holds values that are not finite", **place)
    network.load_state_dict({name: value.float() for name, value in state.items()}, strict=False)
    return LoadedAttributes(network.eval().requires_grad_(False), record)


def shipped_resolutions() -> tuple[int, ...]:
    """Return the resolutions of the networks that ship, smallest first."""
    found = NETWORKS.glob(f"r*/{RECORD}")
    return tuple(sorted(int(path.parent.name[1:]) for path in found))


@functools.cache
def shipped_attributes(resolution: int) -> LoadedAttributes:
    """Load the network that ships for a resolution.

    Args:
        resolution: of the images that the network reads.

    Raises:
        ConfigError: no network of this resolution ships.
        CheckpointError: the installation is damaged.
    """
    known = shipped_resolutions()
    if resolution not in known:
        listed = ", ".join(str(number) for number in known) or "none"
        raise ConfigError(
            f"no attribute network reads images of {resolution} x {resolution}; "
            f"this segan has networks of {listed}",
            field="resolution",
            value=resolution,
            remedy="Use a generator of one of these resolutions, or of a larger one.",
        )
    return load_attributes(NETWORKS / f"r{resolution}")


def shipped_attribute_network(resolution: int) -> AttributeNetwork:
    """Return the network of ``shipped_attributes``; the same object each time."""
    return shipped_attributes(resolution).network


def attributes_for(resolution: int) -> LoadedAttributes:
    """Load the largest network that can read images of a resolution.

    Raises:
        ConfigError: the images are smaller than those of the smallest network.
    """
    fitting = [known for known in shipped_resolutions() if known <= resolution]
    return shipped_attributes(fitting[-1] if fitting else resolution)
