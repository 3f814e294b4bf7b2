"""Least-leakage directions of small generators, with readers whose outputs are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segan.export.directions.attributes.moves import MovedSeeds, MoveSpace
from segan.export.directions.attributes.search import calibrated
from segan.export.directions.attributes.write import (
    AttributesConfig,
    attributes_json,
    write_attribute_directions,
)
from segan.export.directions.statistics import sample_w_statistics
from segan.runtime.bundle.attributes import read_attributes
from segan.runtime.bundle.layout import Slider
from segan.runtime.errors import ConfigError, DataError
from segan.runtime.generate.generator import Generator, load
from segan.runtime.readings.reading import Reading

if TYPE_CHECKING:
    from tests.conftest import RaisesError

Bundle = Callable[..., Generator]
QUICK = AttributesConfig(fit_seeds=16, seeds=16, samples=300, components=4)


class Colours:
    """Reads the mean of each channel, in units of which nothing is known."""

    def __init__(self, *names: str) -> None:
        self.readings = tuple(
            Reading(name, "continuous", at, sd=float("nan")) for at, name in enumerate(names)
        )

    def read(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        means = np.clip(images, -1, 1).mean(axis=(2, 3), dtype=np.float64)
        return np.asarray(means[:, : len(self.readings)])


class Same(Colours):
    def read(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.full((len(images), len(self.readings)), 0.25)


@pytest.mark.parametrize(("mode", "kind"), [(2, "eigen"), (0, "eigen"), (1, "eigen")])
def test_colours_get_names_that_move_them_alone(
    tmp_path: Path, bundle: Bundle, mode: int, kind: str
) -> None:
    generator = bundle(mode, kind)
    out = tmp_path / "named.segan"
    result = write_attribute_directions(generator, out, Colours("red", "green", "blue"), QUICK)
    rows = {row["attribute"]: row for row in attributes_json(result)}
    assert list(rows) == ["red", "green", "blue"]
    assert result.written is not None
    kept = [row for row in rows.values() if row["refusal"] is None]
    assert kept, rows
    with load(out, "cpu") as named:
        seeds = range(500, 532)
        entries = {entry.name: entry for entry in read_attributes(named.bundle)}
        before = named.generate(seeds).mean(axis=(1, 2)) / 127.5
        assert np.array_equal(generator.generate(seeds), named.generate(seeds))
        spread = before.std(axis=0)
        for row in kept:
            entry = entries[row["name"]]
            # A value of 1 is one standard deviation of the reading, on other seeds, too.
            low, high = (
                named.generate(seeds, sliders={entry.name: value}).mean(axis=(1, 2)) / 127.5
                for value in entry.range
            )
            moved = np.abs((high - low).mean(axis=0)) / spread
            channel = list(rows).index(row["attribute"])
            assert moved[channel] == pytest.approx(entry.range[1] - entry.range[0], rel=0.5)
            assert moved[channel] / moved.sum() > 0.55
            assert entry.extra["measured"]["leakage"] <= 0.3
    if mode == 0:
        assert {row.layer for row in result.written.subspaces} == {0}
        assert not generator.manifest.subspaces


def test_a_score_that_never_varies_is_refused(
    tmp_path: Path, bundle: Bundle, raises_error: RaisesError
) -> None:
    with raises_error(DataError, field="reader", value="red", expected="a score that varies"):
        write_attribute_directions(bundle(), tmp_path / "x.segan", Same("red"), QUICK)
    assert not (tmp_path / "x.segan").exists()


def test_noise_gets_no_name(tmp_path: Path, bundle: Bundle) -> None:
    """The negative control: scores that have nothing to do with what is moved."""
    random = np.random.RandomState(0)

    class Noise(Colours):
        def read(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
            return random.standard_normal((len(images), len(self.readings)))

    result = write_attribute_directions(
        bundle(), tmp_path / "x.segan", Noise("a", "b", "c", "d"), QUICK
    )
    assert result.written is None
    assert not (tmp_path / "x.segan").exists()
    assert all(found.refusal is not None for found in result.found)


def test_coordinates_alone_need_no_new_row(tmp_path: Path, bundle: Bundle) -> None:
    config = AttributesConfig(
        fit_seeds=16, seeds=16, samples=300, components=0, attributes=("red",)
    )
    result = write_attribute_directions(bundle(), tmp_path / "x.segan", Colours("red"), config)
    assert len(result.found) == 1
    assert result.written is not None
    assert result.written.subspaces == ()
    assert result.written.max_error == 0


def test_a_taken_name_stays_with_its_slider(tmp_path: Path, bundle: Bundle) -> None:
    from segan.runtime.bundle.attributes_editing import name_slider, write_attributes

    generator = bundle()
    write_attributes(generator.bundle, name_slider(generator.bundle, Slider(0, 0, 0), "Red"))
    with load(generator.bundle.path, "cpu") as named:
        result = write_attribute_directions(named, tmp_path / "x.segan", Colours("red"), QUICK)
    assert result.names == {"red": "red (2)"}


@pytest.mark.parametrize(
    ("config", "data"),
    [
        ({"attributes": ("rde",)}, {"field": "attribute", "value": "rde"}),
        ({"components": 1000}, {"field": "components", "value": 1000}),
        ({"samples": 3}, {"field": "samples", "value": 3}),
    ],
)
def test_settings_that_cannot_be(
    tmp_path: Path,
    bundle: Bundle,
    raises_error: RaisesError,
    config: dict[str, Any],
    data: dict[str, Any],
) -> None:
    with raises_error(ConfigError, **data):
        write_attribute_directions(
            bundle(), tmp_path / "x.segan", Colours("red"), AttributesConfig(**config)
        )


@pytest.mark.parametrize(("field", "value"), [("fit_seeds", 7), ("seeds", 7), ("components", -1)])
def test_numbers_out_of_range(raises_error: RaisesError, field: str, value: Any) -> None:
    with raises_error(ConfigError, field=field, value=value):
        AttributesConfig(**{field: value})


def test_a_mode_0_bundle_needs_w(tmp_path: Path, bundle: Bundle, raises_error: RaisesError) -> None:
    config = AttributesConfig(fit_seeds=16, seeds=16, samples=300, components=0)
    with raises_error(ConfigError, field="components", value=0):
        write_attribute_directions(bundle(0), tmp_path / "x.segan", Colours("red"), config)


def test_moves_are_what_the_sliders_and_w_add(bundle: Bundle) -> None:
    generator = bundle()
    statistics = sample_w_statistics(generator, 300)
    space = MoveSpace(generator, statistics, 3)
    assert space.size == len(space.sliders) + 3 * 3
    move = np.zeros(space.size)
    move[2] = 0.7
    seeds = MovedSeeds(generator, space, Colours("red"), range(4))
    slider = str(space.sliders[2])
    expected = generator.generate(range(4), sliders={slider: 0.7})[..., 0].mean(axis=(1, 2))
    found = seeds.read(move[None])[0, :, 0]
    np.testing.assert_allclose((found + 1) * 127.5, expected, atol=0.6)
    # The first component of w of a layer moves its sites alone, by one standard deviation.
    move = np.zeros(space.size)
    move[len(space.sliders) + 3] = 1
    added = space.of_w(move)
    layers = np.array([site.layer for site in generator.manifest.sites])
    assert (np.abs(added).sum(axis=1) > 0).tolist() == (layers == 1).tolist()
    unit = added[layers == 1][0] / np.linalg.norm(added[layers == 1][0])
    assert np.linalg.norm(added[layers == 1][0]) == pytest.approx(
        float(statistics.deviation(unit)), rel=1e-6
    )
    (reading,) = calibrated(Colours("red").readings, seeds)
    assert reading.sd == pytest.approx(seeds.read(np.zeros((1, space.size)))[0].std(), rel=1e-6)
