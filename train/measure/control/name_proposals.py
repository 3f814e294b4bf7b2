"""Names for sliders of a generator of the built-in faces, by a network that reads attributes.

A slider gets the name of the attribute that it changes most if it changes it by at least one
standard deviation and at most MAX_LEAKAGE of its effect is on other attributes. Each name is
proposed once, for the slider with the least leakage. Imports PyTorch only when it proposes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segan.runtime.atlas.proposals import Proposal, accept
from segan.runtime.bundle.attributes import Attribute, read_attributes
from segan.runtime.bundle.attributes_editing import change_attributes
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.reader import Bundle, check_same_generator
from segan.runtime.errors import ConfigError, SeganError
from segan.runtime.generate.generator import Generator
from segan.runtime.generate.probe import Probe

if TYPE_CHECKING:
    from segan.train.measure.control.attributes import AttributeNetwork

#: Most sliders that are read, which bounds the time.
MAX_SLIDERS = 200
#: Largest share of a slider's effect on other attributes.
MAX_LEAKAGE = 0.6

_SEEDS, _STEPS = range(32), 5
#: Resolution of the largest network; larger images are averaged down to it.
_LARGEST = 64


def propose_names(
    generator: Generator,
    *,
    required: bool,
    on_total: Callable[[int], None] = lambda total: None,
    on_sliders: Callable[[int], None] = lambda sliders: None,
) -> tuple[dict[Slider, Proposal], str]:
    """Return names by slider, and a sentence on how they were found, or on why there are none.

    Args:
        generator: of the bundle.
        required: whether names must be proposed. Then the generator may have learned from other
            data than the built-in faces; else nothing is an error.
        on_total: called first with the number of sliders to read.
        on_sliders: called with the number of sliders read since the last call.

    Raises:
        ConfigError: names are required, and cannot be proposed.
    """
    reason, other = _mismatch(generator), other_data(generator)
    if other is not None and not required:
        reason = (
            f"names are known only for the built-in faces, and {other}; 'segan atlas "
            "--propose' proposes them regardless"
        )
    network = None
    if reason is None:
        network, reason = _load_network(min(generator.manifest.resolution, _LARGEST))
    if network is None:
        if required:
            raise ConfigError(
                f"no names can be proposed: {reason}",
                field="propose",
                remedy="Leave `propose` and `write_names` out.",
            )
        return {}, f"None were proposed: {reason}."
    proposals = _read(generator, network, on_total, on_sliders)
    remark = (
        f"{len(proposals)} proposed by a network that reads the attributes of the built-in faces, "
        f"from {len(_SEEDS)} seeds. 'segan name' gives a slider its name, 'segan atlas "
        "--write-names' all of them."
    )
    if other is not None:
        remark += f" They hold only if the images resemble these faces: {other}."
    return proposals, remark


def give_names(
    generator: Generator,
    proposals: dict[Slider, Proposal],
    copy: Path | None,
    *,
    overwrite: bool = False,
) -> tuple[Path, int]:
    """Write proposed names into the bundle, or into a copy; existing names are kept.

    Names that were given since the generator was opened are kept, too.

    Args:
        generator: of the bundle.
        proposals: names by slider.
        copy: a file for a copy; None changes the bundle.
        overwrite: see ``write_attributes``.

    Returns:
        (the bundle with the names, how many were added).

    Raises:
        BundleError: another generator is in the bundle's place now.
        ConfigError: the bundle ships with segan, and ``copy`` is None.
        OutputError: the bundle or its copy cannot be written.
    """
    path, given = generator.bundle.path, 0

    def change(bundle: Bundle) -> tuple[Attribute, ...]:
        nonlocal given
        check_same_generator(generator.bundle, bundle)
        attributes, added = accept(bundle.manifest, read_attributes(bundle), proposals)
        given = len(added)
        return attributes

    if not accept(generator.manifest, read_attributes(generator.bundle), proposals)[1] and not copy:
        return path, 0
    return change_attributes(path, change, copy, overwrite=overwrite)[0], given


def other_data(generator: Generator) -> str | None:
    """A clause on the generator's data; None if it is the built-in faces."""
    checkpoint = generator.manifest.provenance.get("checkpoint")
    data = checkpoint.get("data") if isinstance(checkpoint, dict) else None
    if data == "faces":
        return None
    return f"this generator's data is {data!r}" if isinstance(data, str) else "its data is unknown"


def _mismatch(generator: Generator) -> str | None:
    """Why the network cannot read this bundle's images; None if it can."""
    manifest = generator.manifest
    if manifest.img_channels != 3:
        channels = f"{manifest.img_channels} channel{'' if manifest.img_channels == 1 else 's'}"
        return f"images have {channels}, and the network reads RGB"
    count = sum(subspace.dims for subspace in manifest.subspaces)
    if count > MAX_SLIDERS:
        return f"the bundle has {count} sliders, and at most {MAX_SLIDERS} are read"
    return None


def _load_network(resolution: int) -> tuple[AttributeNetwork | None, str | None]:
    """The network that reads attributes, or why there is none."""
    try:
        from segan.train.measure.control.attribute_files import shipped_attribute_network
    except (ImportError, OSError) as error:
        if isinstance(error, ModuleNotFoundError) and "." not in (error.name or "."):
            return None, f"{error.name} is not installed (pip install 'segan[train]')"
        # PyTorch is installed, but a library that it needs is missing.
        first = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        return None, f"the network cannot be loaded ({first}); install 'segan[train]' again"
    try:
        return shipped_attribute_network(resolution), None
    except SeganError as error:
        return None, str(error).rstrip(".")


def _read(
    generator: Generator,
    network: AttributeNetwork,
    on_total: Callable[[int], None],
    on_sliders: Callable[[int], None],
) -> dict[Slider, Proposal]:
    """The names of the sliders that control one attribute each."""
    from segan.runtime.readings.scores import control_scores
    from segan.train.measure.control.attributes import NAMES
    from segan.train.measure.control.slider_effects import measure_slider

    manifest = generator.manifest
    probe = Probe.in_turn(generator, _SEEDS)
    ends = {
        Slider(subspace.layer, subspace.index, dim): (subspace.low, subspace.high)
        for subspace in manifest.subspaces
        for dim in range(subspace.dims)
    }
    on_total(len(ends))
    effects = {}
    for slider, (low, high) in ends.items():

        def render(_seeds: Sequence[int], value: float, slider: Slider = slider) -> Any:
            return _network_input(probe.images({slider: value}))

        values = [float(value) for value in np.linspace(low, high, _STEPS)]
        effects[str(slider)] = measure_slider(render, network, _SEEDS, values)
        on_sliders(1)
    return {
        Slider.parse(score.slider): Proposal(
            name=name,
            confidence=1 - score.leakage,
            sign=-1 if score.effect < 0 else 1,
            reason=f"changes {name} by {abs(score.effect):.2g} standard deviations; "
            f"{score.leakage:.0%} of its effect is on other attributes",
        )
        for name, score in control_scores(effects, NAMES).controlled(MAX_LEAKAGE).items()
        if not score.dead
    }


def _network_input(images: Any) -> Any:
    """Images [N, 3, R, R] float32 in [-1, 1], R <= 64, from [N, H, W, 3] uint8."""
    import torch

    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    factor = pixels.shape[-1] // _LARGEST
    return torch.nn.functional.avg_pool2d(pixels, factor) if factor > 1 else pixels
