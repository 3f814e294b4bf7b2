from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segan.runtime.bundle.attributes import Attribute
from segan.runtime.bundle.attributes_editing import name_slider, write_attributes
from segan.runtime.bundle.layout import Slider
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.errors import ConfigError
from segan.runtime.generate.generator import Generator, load

if TYPE_CHECKING:
    from tests.conftest import RaisesError
    from tests.runtime.conftest import Oracle

Same = Callable[[NDArray[np.uint8], NDArray[np.float64]], None]


@pytest.fixture
def toy(toy_bundle: Path) -> Iterator[Generator]:
    bundle = open_bundle(toy_bundle)
    named = name_slider(bundle, Slider(1, 0, 2), "smile", limits=(-1, 2), sign=-1)
    write_attributes(bundle, named)
    with load(toy_bundle, "cpu", threads=1) as generator:
        yield generator


def test_every_value_with_every_other(toy: Generator, oracle: Oracle, same_images: Same) -> None:
    grid = toy.sweep_grid(7, "smile", "L2N0D1", steps=4, row_values=[-2, 0.5], batch_size=3)
    assert grid.shape == (2, 4, 16, 16, 3)
    w = np.repeat(oracle.w(oracle.z([7])), 4, axis=0)
    for row, value in zip(grid, [-2, 0.5], strict=True):
        coords = np.repeat(oracle.coords([7]), 4, axis=0)
        coords[:, 1, 2] = [1, 0, -1, -2]  # smile's -1 to 2, against the coordinate
        coords[:, 2, 1] = value
        same_images(row, oracle.image(w, coords=coords))


def test_a_row_is_a_sweep(toy: Generator) -> None:
    grid = toy.sweep_grid(3, Slider(0, 0, 1), Slider(2, 0, 0), steps=3, row_steps=2, psi=0.7)
    own = toy.sweep(3, 2, 0, values=[-(3**0.5), 3**0.5], psi=0.7)
    assert grid.shape[:2] == (2, 3)
    middle = toy.sweep_grid(
        3, Slider(0, 0, 1), "L2N0D0", col_values=[toy_coordinate(toy)], row_steps=2, psi=0.7
    )
    assert np.abs(middle[:, 0].astype(int) - own).max() <= 1


def toy_coordinate(toy: Generator) -> float:
    """What seed 3 has itself for L0N0D1 at psi 0.7."""
    settings = toy.settings(psi=0.7)
    return float(settings.coords_of([3])[0, 0, 1])


@pytest.mark.parametrize(
    ("cols", "rows", "options", "data"),
    [
        ("smile", "L1N0D2", {}, {"field": "rows", "value": "L1N0D2"}),
        ("smiel", "L1N0D1", {}, {"remedy": "smile"}),
        ("smile", 3, {}, {"field": "slider", "value": 3}),
        ("smile", "L0N0D0", {"row_values": 3}, {"field": "values", "value": 3}),
        ("smile", "L0N0D0", {"col_values": ["a"]}, {"problem": "a value of slider L1N0D2 is 'a'"}),
        ("smile", "L0N0D0", {"steps": 1}, {"field": "steps", "value": 1}),
        ("smile", "L0N0D0", {"sliders": {"smile": 1}}, {"field": "sliders", "problem": "L1N0D2"}),
    ],
)
def test_what_cannot_be(
    toy: Generator, cols: Any, rows: Any, options: Any, data: Any, raises_error: RaisesError
) -> None:
    with raises_error(ConfigError, **data):
        toy.sweep_grid(0, cols, rows, **options)


def test_a_name_of_several_sliders_is_added_to_the_seed(toy_bundle: Path) -> None:
    bundle = open_bundle(toy_bundle)
    weights = {Slider(1, 0, 2): 0.5, Slider(2, 0, 1): -1.0}
    write_attributes(bundle, [Attribute(name="both", weights=weights, range=(-2, 2))])
    with load(toy_bundle, "cpu", threads=1) as toy:
        strip = toy.sweep(seed=7, attr="both", steps=3)
        assert np.array_equal(strip[1], toy.generate([7])[0])
        high = toy.generate([7], sliders={"L1N0D2": 1.0, "L2N0D1": -2.0})
        assert np.array_equal(strip[2], high[0])
        assert np.array_equal(strip[2], toy.generate([7], sliders={"both": 2})[0])
        # One slider is set and the name adds to it.
        grid = toy.sweep_grid(7, "both", "L2N0D1", col_values=[0, 2], row_values=[1.5])
        alone = toy.sweep(seed=7, layer=2, dim=1, values=[1.5, -0.5], sliders={"L1N0D2": 1.0})
        assert np.array_equal(grid[0, 1], alone[1])
