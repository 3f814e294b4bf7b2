"""Readings of images by the network of the built-in faces, while sliders move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segan.runtime.bundle.layout import Slider
from segan.runtime.errors import ConfigError
from segan.runtime.readings.effects import SliderEffect, SliderReadings
from segan.train.measure.control.attributes import READINGS, AttributeNetwork, read_attributes
from segan.train.measure.models.model import ImageOptions, Render, SliderModel
from segan.train.measure.models.torch_graphs import generator_model
from segan.train.networks.stylegan2.generator import Generator


def read_slider(
    render: Render, network: AttributeNetwork, seeds: Sequence[int], values: Sequence[float]
) -> SliderReadings:
    """Read attributes while one slider moves over ``values`` and all other inputs stay the same.

    Args:
        render: renders seeds at a value of the slider.
        network: reads their attributes.
        seeds: of the images.
        values: of the slider, from low to high, 2 or more.

    Raises:
        ConfigError: too few values or seeds, or images that the network cannot read.
    """
    if len(values) < 2 or not len(seeds):
        raise ConfigError(
            f"{len(seeds)} seeds and {len(values)} values are given",
            field="values",
            value=len(values),
            expected="1 or more seeds and 2 or more values",
        )
    first = render(seeds, values[0])
    change = np.zeros(len(seeds))
    readings = [read_attributes(network, first)]
    for value in values[1:]:
        images = render(seeds, value)
        apart = (images - first).double().square().mean((1, 2, 3)).numpy()
        change = np.maximum(change, apart)
        readings.append(read_attributes(network, images))
    return SliderReadings(np.stack(readings), change)


def measure_slider(
    render: Render, network: AttributeNetwork, seeds: Sequence[int], values: Sequence[float]
) -> SliderEffect:
    """Return the effect of a slider; see ``read_slider``."""
    return read_slider(render, network, seeds, values).effect(READINGS)


def read_sliders(
    images: SliderModel,
    network: AttributeNetwork,
    seeds: Sequence[int] = range(64),
    steps: int = 5,
    sliders: Sequence[Slider] | None = None,
) -> dict[str, SliderReadings]:
    """Read attributes while sliders move over their ranges: name (L3N0D5) → readings.

    Args:
        images: the model; the result is empty where it has no sliders.
        network: reads the attributes.
        seeds: that each slider is moved for.
        steps: values over a slider's range.
        sliders: to move; None moves all.

    Raises:
        ConfigError: images that do not fit the network, or too few seeds or steps.
    """
    return {
        str(slider): read_slider(
            images.slider(slider), network, seeds, np.linspace(low, high, steps).tolist()
        )
        for slider, low, high in images.sliders
        if sliders is None or slider in sliders
    }


def generator_effects(
    generator: Generator,
    network: AttributeNetwork,
    seeds: Sequence[int] = range(64),
    steps: int = 5,
    sliders: Sequence[Slider] | None = None,
) -> dict[str, SliderEffect]:
    """Return the effects of a generator's sliders; see ``read_sliders``. Empty in mode 0."""
    model = generator_model(generator, ImageOptions(noise="const"))
    found = read_sliders(model, network, seeds, steps, sliders)
    return {name: readings.effect(READINGS) for name, readings in found.items()}
