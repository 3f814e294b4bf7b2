"""Latent walks: frames between seeds, and between classes where they are given."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal, TypeVar

import numpy as np

from segan.runtime.errors import ConfigError
from segan.runtime.generate.renderer import Array, Images, Renderer
from segan.runtime.latents.draws import lerp, sample_z, slerp
from segan.runtime.latents.options import (
    GenerationOptions,
    Settings,
    check_count,
    one_hot_rows,
)


def interpolate(
    renderer: Renderer,
    settings: Settings,
    seeds: list[int],
    frames: int,
    space: Literal["w", "z"],
    loop: bool,
    classes: Sequence[int | str] | None = None,
) -> Iterator[Images]:
    """A walk from seed to seed; see ``Generator.interpolate``."""
    frames = check_count("frames", frames)
    if space not in ("w", "z"):
        raise ConfigError(field="space", value=space, expected="w or z")
    if space == "z" and settings.latents is not None:
        raise ConfigError(
            "`space z` walks between seeds' z, which `latents` do not have",
            field="space",
            value=space,
            expected="`space w`",
        )
    if classes and seeds:
        seeds, classes = in_turn(seeds, classes)
    if len(seeds) < 2:
        raise ConfigError(
            f"`seeds` holds {len(seeds)}", field="seeds", value=seeds, expected="2 or more"
        )
    labels = None if classes is None else one_hot_rows(renderer.manifest, classes)
    stops = range(len(seeds))
    legs = list(itertools.pairwise([*stops, 0] if loop else stops))
    # (start, end, position between them from 0 to 1)
    steps = [(start, end, k / frames) for start, end in legs for k in range(frames)]
    if not loop:
        steps.append((*legs[-1], 1.0))
    return _walk(renderer, settings, seeds, labels, steps, space)


def with_first_class(
    options: GenerationOptions, classes: Sequence[int | str] | None
) -> GenerationOptions:
    """The options of a walk through classes, with ``class_index`` set to the first of them.

    Raises:
        ConfigError: there are no classes, or class_index or latents are given as well.
    """
    if classes is None:
        return options
    if not len(classes):
        raise ConfigError("`classes` is empty", field="classes", expected="1 or more, or None")
    if options.class_index is not None:
        raise ConfigError("`class_index` and `classes` exclude each other", field="classes")
    if options.latents is not None:
        raise ConfigError(
            "`latents` have no class to walk from",
            field="classes",
            remedy="Leave `latents` or `classes` out.",
        )
    return replace(options, class_index=classes[0])


_A = TypeVar("_A")

_B = TypeVar("_B")


def in_turn(first: Sequence[_A], second: Sequence[_B]) -> tuple[list[_A], list[_B]]:
    """Repeat the shorter sequence until both have the longer one's length. Neither may be empty."""
    count = max(len(first), len(second))
    return (
        [first[i % len(first)] for i in range(count)],
        [second[i % len(second)] for i in range(count)],
    )


def _walk(
    renderer: Renderer,
    settings: Settings,
    seeds: list[int],
    labels: Array | None,
    steps: list[tuple[int, int, float]],
    space: Literal["w", "z"],
) -> Iterator[Images]:
    """The frames. ``labels``: [len(seeds), c_dim], or None for the settings' class."""
    z_dim = renderer.manifest.z_dim
    for first in range(0, len(steps), settings.options.batch_size):
        part = steps[first : first + settings.options.batch_size]
        starts, ends = [step[0] for step in part], [step[1] for step in part]
        start_seeds, end_seeds = ([seeds[stop] for stop in stops] for stops in (starts, ends))
        t = np.array([step[2] for step in part])
        if space == "z":
            z = slerp(sample_z(start_seeds, z_dim), sample_z(end_seeds, z_dim), t)
            between = (
                settings.labels_of(len(part))
                if labels is None
                else lerp(labels[starts], labels[ends], t)
            )
            w = renderer.mix_layers(renderer.map(z, between), settings)
        else:
            w_start, w_end = (
                renderer.map_seeds(own, settings, None if labels is None else labels[stops])
                for own, stops in ((start_seeds, starts), (end_seeds, ends))
            )
            w = lerp(w_start, w_end, t if w_start.ndim == 2 else t[:, None])
        coords = lerp(settings.coords_of(start_seeds), settings.coords_of(end_seeds), t[:, None])
        noise = renderer.noise_of(seeds[:1], settings)
        yield from renderer.render_with(w, coords, noise, settings)
