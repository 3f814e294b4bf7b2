"""Names for sliders of a generator of the built-in faces, by a network that reads attributes.

A slider gets the name of the attribute that it moves most when it moves it by one standard
deviation or more and at most MAX_LEAKAGE of what it does is on other attributes. Each name is
proposed once, for the slider with the least leakage.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segan.cli.progress import progress
from segan.runtime.atlas.proposals import Proposal, accept
from segan.runtime.bundle.layout import Slider
from segan.runtime.errors import ConfigError, SeganError
from segan.runtime.generate.probe import Probe, classes_in_turn

if TYPE_CHECKING:
    from segan.runtime.generate.generator import Generator

#: Most sliders that are read: more would take longer than anybody waits for a name.
MAX_SLIDERS = 200
#: Largest share of a slider's effect on other attributes.
MAX_LEAKAGE = 0.6
_SEEDS, _STEPS = range(32), 5
#: Larger images are averaged down to what the largest network reads.
_LARGEST = 64
_UNSTATED = "this generator's data is not stated"


def propose_names(generator: Generator, *, required: bool) -> tuple[dict[Slider, Proposal], str]:
    """Names by slider, and a sentence that says how they came about, or why there are none.

    Args:
        generator: of the bundle.
        required: whether the user asked for names. Then they vouch that the images are like the
            built-in faces, whatever the generator learned from; else nothing is an error.

    Raises:
        ConfigError: names were asked for, and cannot be proposed.
    """
    reason, foreign = _why_not(generator), _foreign_data(generator)
    if foreign is not None and not required:
        reason = f"names are known for the built-in faces only, and {foreign}; --propose insists"
    network = None
    if reason is None:
        network, reason = _network(min(generator.manifest.resolution, _LARGEST))
    if reason is not None:
        if required:
            raise ConfigError(
                f"no names can be proposed: {reason}. Leave --propose and --write-names out."
            )
        return {}, f"None were proposed: {reason}."
    found = _read(generator, network)
    vouched = "" if foreign is None else f" {foreign[0].upper()}{foreign[1:]}: you vouch for it."
    return found, (
        f"{len(found)} proposed by a network that reads the built-in faces' attributes, from "
        f"{len(_SEEDS)} seeds; 'segan name' gives one, --write-names all.{vouched}"
    )


def give_names(
    generator: Generator, proposals: dict[Slider, Proposal], copy: Path | None
) -> tuple[Path, int]:
    """Writes proposed names into the bundle, or into a copy; what has a name keeps it.

    Returns:
        (the bundle that has them, how many were given).

    Raises:
        ConfigError: the bundle ships with segan, and no copy was asked for.
        OutputError: it cannot be written.
    """
    from segan.runtime.bundle.attributes import read_attributes
    from segan.runtime.bundle.attributes_editing import write_attributes

    bundle = generator.bundle
    attributes, given = accept(generator.manifest, read_attributes(bundle), proposals)
    if not given and copy is None:
        return bundle.path, 0
    return write_attributes(bundle, attributes, copy), len(given)


def _foreign_data(generator: Generator) -> str | None:
    """What the generator learned from, in words, unless it is the built-in faces."""
    checkpoint = generator.manifest.provenance.get("checkpoint")
    data = checkpoint.get("data") if isinstance(checkpoint, dict) else None
    if data == "faces":
        return None
    return f"this generator's data is {data!r}" if isinstance(data, str) else _UNSTATED


def _why_not(generator: Generator) -> str | None:
    """Why the network cannot read this bundle's images; None when it can."""
    manifest = generator.manifest
    if manifest.img_channels != 3:
        channels = f"{manifest.img_channels} channel{'' if manifest.img_channels == 1 else 's'}"
        return f"images have {channels}, and the network reads RGB"
    count = sum(subspace.dims for subspace in manifest.subspaces)
    if count > MAX_SLIDERS:
        return f"the bundle has {count} sliders, and at most {MAX_SLIDERS} are read"
    return None


def _network(resolution: int) -> tuple[Any, str | None]:
    """The network that reads attributes, or why there is none."""
    try:
        from segan.train.measure.control.attribute_files import shipped_attribute_network
    except (ImportError, OSError) as error:
        if isinstance(error, ModuleNotFoundError) and "." not in (error.name or "."):
            return None, f"{error.name} is not installed (pip install 'segan[train]')"
        # PyTorch is there, but not whole: a library of its own or of the system is missing.
        said = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        return None, f"the network cannot be loaded ({said}); install 'segan[train]' again"
    try:
        return shipped_attribute_network(resolution), None
    except SeganError as error:
        return None, str(error).rstrip(".")


def _read(generator: Generator, network: Any) -> dict[Slider, Proposal]:
    from segan.train.measure.control.scores import control_scores
    from segan.train.measure.control.slider_effects import measure_slider

    classes = classes_in_turn(generator.manifest, len(_SEEDS))
    first = None if classes is None else classes[0]
    settings = generator.settings(class_index=first, batch_size=len(_SEEDS))
    probe = Probe(generator, _SEEDS, settings, classes=classes)
    effects = {}
    ranges = {
        Slider(subspace.layer, subspace.index, dim): (subspace.low, subspace.high)
        for subspace in generator.manifest.subspaces
        for dim in range(subspace.dims)
    }
    with progress(len(ranges), "sliders", "reading attributes") as bar:
        for slider, (low, high) in ranges.items():

            def render(_seeds: Sequence[int], value: float, slider: Slider = slider) -> Any:
                return _readable(probe.images({slider: value}))

            values = [float(value) for value in np.linspace(low, high, _STEPS)]
            effects[str(slider)] = measure_slider(render, network, _SEEDS, values)
            bar.update()
    proposals = {}
    for name, score in control_scores(effects).controlled(MAX_LEAKAGE).items():
        if score.dead:
            continue
        proposals[Slider.parse(score.slider)] = Proposal(
            name=name,
            confidence=1 - score.leakage,
            sign=-1 if score.effect < 0 else 1,
            reason=f"moves {name} by {abs(score.effect):.2g} standard deviations; "
            f"{score.leakage:.0%} of what it does is on other attributes",
        )
    return proposals


def _readable(images: NDArray[np.uint8]) -> Any:
    """Images [N, 3, R, R] float32 in [-1, 1], no larger than the network reads."""
    import torch

    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    factor = pixels.shape[-1] // _LARGEST
    return torch.nn.functional.avg_pool2d(pixels, factor) if factor > 1 else pixels
