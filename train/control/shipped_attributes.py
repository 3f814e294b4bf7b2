"""The attribute networks that ship with segan, one for each resolution of the built-in faces."""

from __future__ import annotations

import functools
from pathlib import Path

from segan.runtime.errors import ConfigError
from segan.train.control.attribute_files import RECORD, LoadedAttributes, load_attributes
from segan.train.control.attributes import AttributeNetwork

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
