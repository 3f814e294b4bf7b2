"""Atlases of a generator that draws what is known, and of the toy bundles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from segan.runtime.atlas import Atlas, AtlasConfig, AtlasSlider, measure_atlas
from segan.runtime.bundle.attributes_editing import name_slider, write_attributes
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.errors import ConfigError
from segan.runtime.generate.generator import load

if TYPE_CHECKING:
    from tests.runtime.atlas.conftest import DrawnGenerator

ROOT3 = 3**0.5
OpenDrawn = Callable[[Path], "DrawnGenerator"]


def by_slider(atlas: Atlas) -> dict[str, AtlasSlider]:
    return {str(entry.slider): entry for entry in atlas.sliders}


@pytest.fixture
def atlas(drawn: DrawnGenerator) -> Atlas:
    return measure_atlas(drawn, AtlasConfig(seeds=range(6), shown=2, steps=5))


def test_figures_of_known_sliders(atlas: Atlas) -> None:
    found = by_slider(atlas)
    square = found["L0N0D0"].figures
    assert square.effect == pytest.approx(2 * ROOT3 * 20 / 127.5 / 4, rel=0.02)
    assert square.locality == pytest.approx(1 - 1 / 16, abs=1e-3)
    assert square.consistency == pytest.approx(1, abs=1e-6)
    assert square.straightness == pytest.approx(1, abs=0.01)
    # The mark of the seed, one pixel, is covered by nothing.
    assert found["L0N0D3"].figures.locality == pytest.approx(0, abs=0.01)
    assert found["L0N0D4"].figures.consistency == pytest.approx(-1 / 5, abs=0.02)
    # Its middle differs most from its ends, and is one of the strengths.
    assert found["L1N0D0"].figures.span == (0, 2)
    assert found["L1N0D1"].figures.straightness == pytest.approx(2**-0.5, abs=0.01)
    assert found["L1N0D1"].figures.monotonicity == pytest.approx(1)


def test_dead_sliders_come_last(atlas: Atlas) -> None:
    dead = [entry for entry in atlas.sliders if entry.figures.dead]
    assert "L0N0D2" in {str(entry.slider) for entry in dead}
    assert [entry.rank for entry in dead] == list(range(17 - len(dead), 17))
    for entry in dead:
        assert entry.nearest is None
        assert entry.mates == ()
        assert entry.leads


def test_ranks_follow_effect_times_locality(atlas: Atlas) -> None:
    assert [entry.rank for entry in atlas.sliders] == list(range(1, 17))
    scores = [entry.figures.effect * entry.figures.locality for entry in atlas.sliders]
    alive = [s for s, entry in zip(scores, atlas.sliders, strict=True) if not entry.figures.dead]
    assert alive == sorted(alive, reverse=True)
    # The whole picture changes much, but nowhere in particular.
    ranks = {name: entry.rank for name, entry in by_slider(atlas).items()}
    assert ranks["L0N0D0"] < ranks["L0N0D1"] < ranks["L0N0D3"]


def test_sliders_that_do_the_same_are_duplicates(atlas: Atlas) -> None:
    found = by_slider(atlas)
    best, second = found["L0N0D0"], found["L0N0D1"]
    assert best.leads
    assert not second.leads
    ((mate, alike),) = best.mates
    assert mate == Slider(0, 0, 1)
    assert alike == pytest.approx(-1, abs=1e-3)
    assert second.mates[0][0] == Slider(0, 0, 0)
    assert best.nearest == (mate, alike)
    assert found["L0N0D3"].leads


def test_a_name_gives_range_and_direction(open_drawn: OpenDrawn, toy_bundle: Path) -> None:
    bundle = open_bundle(toy_bundle)
    named = name_slider(bundle, Slider(0, 0, 0), "shade", limits=(-1, 2), sign=-1)
    write_attributes(bundle, named)
    drawn = open_drawn(toy_bundle)
    entry = by_slider(measure_atlas(drawn, AtlasConfig(seeds=[3, 9], steps=4)))["L0N0D0"]
    assert entry.name == "shade"
    assert entry.values == (-1, 0, 1, 2)
    assert entry.images.shape == (2, 4, 16, 16, 3)
    # More shade is less of the coordinate, so darker.
    assert entry.images[0, :, 0, 0, 0].tolist() == [148, 128, 108, 88]


def test_hidden_sliders_are_left_out(open_drawn: OpenDrawn, toy_bundle: Path) -> None:
    bundle = open_bundle(toy_bundle)
    hidden = name_slider(bundle, Slider(0, 0, 0), "shade", hidden=True)
    write_attributes(bundle, hidden)
    drawn = open_drawn(toy_bundle)
    atlas = measure_atlas(drawn, AtlasConfig(seeds=[0, 1], steps=3))
    assert "L0N0D0" not in by_slider(atlas)
    assert (atlas.total, atlas.hidden, len(atlas.sliders), atlas.left_out) == (16, 1, 15, 0)
    shown = measure_atlas(drawn, AtlasConfig(seeds=[0, 1], steps=3, hidden=True))
    assert by_slider(shown)["L0N0D0"].hidden
    assert shown.hidden == 0


def test_a_bundle_with_only_hidden_sliders_is_refused(
    open_drawn: OpenDrawn, toy_bundle: Path
) -> None:
    for row, dims in enumerate((6, 6, 4)):
        for dim in range(dims):
            bundle = open_bundle(toy_bundle)
            write_attributes(bundle, name_slider(bundle, Slider(row, 0, dim), hidden=True))
    with pytest.raises(ConfigError) as caught:
        measure_atlas(open_drawn(toy_bundle))
    assert (caught.value.field, caught.value.value) == ("hidden", False)
    assert "16" in caught.value.problem


def test_the_most_effective_sliders_are_kept(drawn: DrawnGenerator) -> None:
    totals: list[int] = []
    made: list[int] = []
    config = AtlasConfig(seeds=range(4), steps=3, max_sliders=3)
    atlas = measure_atlas(drawn, config, on_total=totals.append, on_images=made.append)
    # From end to end L0N0D0, L0N0D4 and L0N0D3 change pictures most.
    assert set(by_slider(atlas)) == {"L0N0D0", "L0N0D4", "L0N0D3"}
    assert atlas.left_out == 13
    assert totals == [16 * 2 * 2 + 3 * 4 * 3 + 4]
    assert sum(made) == totals[0]


def test_images_are_those_of_a_sweep(toy_bundle: Path) -> None:
    with load(toy_bundle, "cpu", threads=1) as generator:
        config = AtlasConfig(seeds=[5, 2], steps=3, psi=0.7, batch_size=4)
        atlas = measure_atlas(generator, config)
        for entry in atlas.sliders[:4]:
            own = generator.sweep(
                2, entry.slider.layer, entry.slider.dim, values=entry.values, psi=0.7
            )
            assert np.abs(entry.images[1].astype(int) - own).max() <= 1
        assert np.abs(atlas.samples.astype(int) - generator.generate([5, 2], psi=0.7)).max() <= 1


def test_classes_in_turn_or_one(toy_bundle_zip: Path) -> None:
    with load(toy_bundle_zip, "cpu", threads=1) as generator:
        atlas = measure_atlas(generator, AtlasConfig(seeds=[7, 8, 9, 10], steps=3))
        assert atlas.labels == ("circle", "square", "star", "circle")
        assert atlas.samples.shape == (4, 16, 16, 1)
        for number, seed in enumerate([7, 8, 9, 10]):
            own = generator.generate(seed, class_index=number % 3)[0]
            assert np.abs(atlas.samples[number].astype(int) - own).max() <= 1
        one = measure_atlas(generator, AtlasConfig(seeds=[7, 8], steps=3, class_index="star"))
        assert one.labels == ("star", "star")
        assert len(one.sliders) == 19


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ({"seeds": [3]}, "seeds", 1),
        ({"seeds": []}, "seeds", 0),
        ({"seeds": [3, 3]}, "seeds", 2),
        ({"seeds": [3, -1]}, "seed", -1),
        ({"steps": 2}, "steps", 2),
        ({"shown": 0}, "shown", 0),
        ({"max_sliders": 0}, "max_sliders", 0),
        ({"batch_size": 0}, "batch_size", 0),
        ({"psi": 1.2}, "psi", 1.2),
        ({"class_index": 1}, "class_index", 1),
    ],
)
def test_invalid_settings_are_refused(
    drawn: DrawnGenerator, options: Any, field: str, value: object
) -> None:
    with pytest.raises(ConfigError) as caught:
        measure_atlas(drawn, AtlasConfig(**{"seeds": [0, 1], "steps": 3, **options}))
    assert (caught.value.field, caught.value.value) == (field, value)


def test_a_bundle_without_sliders_is_refused(toy_bundle_plain: Path) -> None:
    with (
        load(toy_bundle_plain, "cpu", threads=1) as generator,
        pytest.raises(ConfigError, match="segan directions"),
    ):
        measure_atlas(generator)


def test_the_record_is_json(atlas: Atlas) -> None:
    import json

    found = json.loads(json.dumps(atlas.to_json(), allow_nan=False))
    assert found["format"] == "segan.atlas/1"
    assert found["dead"] == sum(entry["dead"] for entry in found["sliders"])
    first = found["sliders"][0]
    assert first["rank"] == 1
    assert first["score"] == pytest.approx(first["effect"] * first["locality"], abs=1e-5)


def test_large_images_are_averaged_down() -> None:
    from segan.runtime.atlas.measure import _reduced

    images = np.random.RandomState(0).randint(0, 256, (2, 512, 512, 3)).astype(np.uint8)
    found = _reduced(images)
    assert found.shape == (2, 256, 256, 3)
    assert abs(int(found[1, 3, 5, 2]) - images[1, 6:8, 10:12, 2].mean()) <= 0.5
    assert _reduced(found) is found
