"""Attribute networks as files: tensors in half precision, and a record of what they can read.

DIR/attributes.safetensors   weights and the faces' feature statistics
DIR/attributes.json          format, resolution, training, held-out scores, sha256

The record is written last: a folder that has one is whole.
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

_REMEDY = "Train the attribute network again."


class AttributeRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``attributes.json``.

    Attributes:
        format: ``segan.attributes/2``.
        resolution: at which the network sees images.
        attributes: what it reads, in the order of its outputs.
        faces: it was trained on.
        seed: of those faces and of the first weights.
        epochs: passes over them.
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
    """Writes a trained network.

    Raises:
        OutputError: it cannot be written.
    """
    make_folder(folder)
    weights = {name for name, _ in network.named_parameters()}
    state = {
        # Half precision is far finer than the estimates; statistics are sums over thousands.
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
    """Reads what ``save_attributes`` wrote.

    Raises:
        CheckpointError: missing, altered, cut short, a pickle, or for other attributes.
    """
    path = folder / RECORD
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror}). Give the folder of an attribute network."
        ) from None
    record = decode_record(
        data, AttributeRecord, name=str(path), format=FORMAT, error=CheckpointError, remedy=_REMEDY
    )
    names = tuple(reading.name for reading in READINGS)
    if record.attributes != names:
        raise CheckpointError(
            f"{path} reads {len(record.attributes)} attributes that are not those of this segan's "
            f"faces ({', '.join(names)}). {_REMEDY}"
        )
    tensors = read_tensors(folder / WEIGHTS)
    if sha256_file(folder / WEIGHTS) != record.sha256:
        raise CheckpointError(
            f"{folder / WEIGHTS} was altered after it was written (its sha256 differs from "
            f"{RECORD}). {_REMEDY}"
        )
    network = AttributeNetwork(record.resolution)
    expected = {
        name: value
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    state = matching_state(tensors, expected, str(folder / WEIGHTS))
    if not all(bool(torch.isfinite(value).all()) for value in state.values()):
        raise CheckpointError(f"{folder / WEIGHTS} holds values that are not finite. {_REMEDY}")
    network.load_state_dict({name: value.float() for name, value in state.items()}, strict=False)
    return LoadedAttributes(network.eval().requires_grad_(False), record)


#: Holds a folder for each network: r16, r32, r64.
NETWORKS = Path(__file__).with_name("attribute_networks")


def shipped_resolutions() -> tuple[int, ...]:
    """Resolutions that there is a network for, smallest first."""
    found = NETWORKS.glob(f"r*/{RECORD}")
    return tuple(sorted(int(path.parent.name[1:]) for path in found))


@functools.cache
def shipped_attributes(resolution: int) -> LoadedAttributes:
    """The network and its record, with held-out scores and sha256.

    Args:
        resolution: at which it sees images.

    Raises:
        ConfigError: no network of this resolution ships.
        CheckpointError: the installation is damaged.
    """
    known = shipped_resolutions()
    if resolution not in known:
        listed = ", ".join(str(number) for number in known) or "none"
        raise ConfigError(
            f"there is no attribute network for images of {resolution}²; this segan has: {listed}. "
            "Expected a generator of one of these resolutions, or of a larger one."
        )
    return load_attributes(NETWORKS / f"r{resolution}")


def shipped_attribute_network(resolution: int) -> AttributeNetwork:
    """The network for images of a resolution; the same object each time. See above for errors."""
    return shipped_attributes(resolution).network


def attributes_for(resolution: int) -> LoadedAttributes:
    """The sharpest network that can see images of a resolution: theirs, or a smaller one.

    Raises:
        ConfigError: the images are smaller than the smallest network's.
    """
    fitting = [known for known in shipped_resolutions() if known <= resolution]
    return shipped_attributes(fitting[-1] if fitting else resolution)
