"""Latent walks: frames between seeds, through classes where asked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from segan.runtime.errors import ConfigError
from segan.runtime.generate.renderer import mix_in
from segan.runtime.generate.sweep import Images
from segan.runtime.latents.draws import lerp, sample_z, slerp
from segan.runtime.latents.options import Options, Settings, check_count, one_hot_rows

if TYPE_CHECKING:
    from segan.runtime.generate.generator import Generator


def interpolate(
    generator: Generator,
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
        raise ConfigError(f"space is {space!r}; expected w or z.")
    if space == "z" and settings.latents is not None:
        raise ConfigError("space is 'z', but latents are given past z; expected w.")
    if classes and seeds:
        seeds, classes = in_turn(seeds, classes)
    if len(seeds) < 2:
        raise ConfigError(f"there are {len(seeds)} seeds; expected 2 or more to walk between.")
    labels = None if classes is None else one_hot_rows(generator.manifest, classes)
    stops = range(len(seeds))
    ends = list(itertools.pairwise([*stops, 0] if loop else stops))
    # (first stop, second stop, how far from one to the other)
    steps = [(one, two, k / frames) for one, two in ends for k in range(frames)]
    if not loop:
        steps.append((*ends[-1], 1.0))
    return _walk(generator, settings, seeds, labels, steps, space)


def with_first_class(options: Options, classes: Sequence[int | str] | None) -> Options:
    """The options of a walk through classes, which starts in the first of them.

    Raises:
        ConfigError: there are no classes, or the options leave no room for them.
    """
    if classes is None:
        return options
    if not len(classes):
        raise ConfigError("classes is empty; expected one or more, or None.")
    if options.get("class_index") is not None:
        raise ConfigError("class_index and classes exclude each other; expected one of them.")
    if options.get("latents") is not None:
        raise ConfigError("latents are past the classes; expected seeds to walk through classes.")
    return {**options, "class_index": classes[0]}


_One = TypeVar("_One")

_Other = TypeVar("_Other")


def in_turn(ones: Sequence[_One], others: Sequence[_Other]) -> tuple[list[_One], list[_Other]]:
    """Both lists as long as the longer one; the shorter begins anew. Neither may be empty."""
    count = max(len(ones), len(others))
    return (
        [ones[i % len(ones)] for i in range(count)],
        [others[i % len(others)] for i in range(count)],
    )


def _walk(
    generator: Generator,
    settings: Settings,
    seeds: list[int],
    labels: NDArray[np.float32] | None,
    steps: list[tuple[int, int, float]],
    space: Literal["w", "z"],
) -> Iterator[Images]:
    """The frames; labels are those of the stops, [len(seeds), c_dim], or None for settings'."""
    z_dim = generator.manifest.z_dim
    for start in range(0, len(steps), settings.batch_size):
        part = steps[start : start + settings.batch_size]
        stops = [step[0] for step in part], [step[1] for step in part]
        ones, twos = ([seeds[stop] for stop in own] for own in stops)
        t = np.array([step[2] for step in part])
        if space == "z":
            z = slerp(sample_z(ones, z_dim), sample_z(twos, z_dim), t)
            between = (
                settings.labels_of(len(part))
                if labels is None
                else lerp(labels[stops[0]], labels[stops[1]], t)
            )
            w = mix_in(generator, settings, generator.map(z, between))
        else:
            if labels is None:
                starts, ends = (generator.map_seeds(own, settings) for own in (ones, twos))
            else:
                starts, ends = (
                    mix_in(
                        generator,
                        settings,
                        generator.map(sample_z(own, z_dim), labels[own_stops]),
                    )
                    for own, own_stops in zip((ones, twos), stops, strict=True)
                )
            w = lerp(starts, ends, t if starts.ndim == 2 else t[:, None])
        coords = lerp(settings.coords_of(ones), settings.coords_of(twos), t[:, None])
        yield from generator.render(w, coords, seeds[:1], settings)
