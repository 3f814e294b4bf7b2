from __future__ import annotations

import inspect
import json
from pathlib import Path

from segan.runtime import errors


def _classes() -> list[type[Exception]]:
    found = (kind for _, kind in inspect.getmembers(errors, inspect.isclass))
    return [
        kind for kind in found if issubclass(kind, Exception) and kind.__module__ == errors.__name__
    ]


def test_everything_is_a_segan_error() -> None:
    assert all(issubclass(kind, errors.SeganError) for kind in _classes())


def test_wrong_use_is_also_a_value_error() -> None:
    assert issubclass(errors.ConfigError, ValueError)
    assert not issubclass(errors.BundleError, ValueError)
    assert issubclass(errors.VerifyError, errors.ExportError)


def test_the_drawn_tree_shows_every_class_at_its_depth() -> None:
    tree: dict[type[Exception], int] = {}
    for line in (errors.__doc__ or "").splitlines():
        for kind in _classes():
            if kind.__name__ in line.split():
                tree.setdefault(kind, line.index(kind.__name__))
    assert set(tree) == set(_classes())
    for kind in _classes():
        depth = len([base for base in kind.__mro__ if base in tree])
        assert tree[kind] == 4 * depth


def test_an_error_says_its_data_in_pythons_names() -> None:
    error = errors.ConfigError(
        field="psi", value=1.8, expected="0 to 1", remedy="Pass `psi 0.7`, or leave `psi` out."
    )
    assert str(error) == "psi is 1.8; expected 0 to 1. Pass psi=0.7, or leave psi out."
    assert (error.field, error.value, error.expected) == ("psi", 1.8, "0 to 1")


def test_a_problem_in_words_stands_in_place_of_field_and_value() -> None:
    error = errors.DataError("there are no images", field="data", value="a.zip", remedy="Add some.")
    assert str(error) == "there are no images. Add some."
    assert str(errors.DataError("there are none")) == "there are none."
    assert str(errors.DataError("are there none?")) == "are there none?"
    assert str(errors.DataError()) == ""


def test_text_is_quoted_and_no_value_is_not_none() -> None:
    assert str(errors.ConfigError(field="noise", value="x")) == "noise is 'x'."
    assert str(errors.ConfigError(field="noise", value=None)) == "noise is None."
    assert errors.ConfigError("x").value is errors.NO_VALUE


def test_data_round_trips_through_json() -> None:
    for kind in _classes():
        assert issubclass(kind, errors.SeganError)
        error = kind("a problem", field="x", value=Path("a"), expected="b", remedy="c")
        back = errors.SeganError.from_data(json.loads(json.dumps(error.to_data())))
        assert type(back) is kind
        assert str(back) == str(error)
        assert (back.field, back.value, back.expected, back.remedy) == ("x", "a", "b", "c")
    assert errors.SeganError.from_data({"kind": "Unknown"}).value is errors.NO_VALUE


def test_a_value_to_pass_is_written_as_python_writes_it() -> None:
    remedy = "`psi 0.7`, `name b c`, `out PATH`, `class_index none`, `values [1, 2]`"
    error = errors.ConfigError("x", remedy=remedy)
    assert str(error) == ("x. psi=0.7, name='b c', out=PATH, class_index='none', values=[1, 2]")
