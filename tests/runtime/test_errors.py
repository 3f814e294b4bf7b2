from __future__ import annotations

import inspect

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
