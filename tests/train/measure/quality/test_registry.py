from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from segan.runtime.errors import ConfigError
from segan.train.measure.quality.metric import Metric, count_of
from segan.train.measure.quality.path_length import PathLengthMetric
from segan.train.measure.quality.precision_recall import PrecisionRecallMetric
from segan.train.measure.quality.registry import FAMILIES, check_names, parse_metric


@pytest.mark.parametrize("name", [name for family in FAMILIES for name in family.examples])
def test_every_listed_name_is_a_metric_of_one_family(name: str) -> None:
    import re

    assert sum(bool(re.fullmatch(family.pattern, name)) for family in FAMILIES) == 1
    metric = parse_metric(name)
    assert isinstance(metric, Metric)
    assert metric.name == name


@pytest.mark.parametrize(
    ("name", "n"),
    [("fid50k_full", 50_000), ("kid1k_full", 1000), ("pr2k3_full", 2000), ("is500", 500),
     ("ppl_wend", 50_000), ("ppl2k_wend", 2000), ("ppl2_wend", 50_000), ("ppl_segan30k", 30_000),
     ("fd_faces2k", 2000), ("ppl500_wend", 500), ("ppl2_500_wend", 500), ("ppl_segan70", 70),
     ("pr500k3", 500_000), ("pr500_3", 500), ("pr_faces40_3_full", 40), ("mig400", 400)],
)  # fmt: skip
def test_n_is_read_from_the_name(name: str, n: int) -> None:
    assert parse_metric(name).n == n


def test_other_numbers_are_read_too() -> None:
    metric = parse_metric("pr5k7_full")
    assert isinstance(metric, PrecisionRecallMetric)
    assert metric.k == 7
    few = parse_metric("pr_faces500_12_full")
    assert isinstance(few, PrecisionRecallMetric)
    assert (few.n, few.k, few.full) == (500, 12, True)
    path = parse_metric("ppl2_zfull")
    assert isinstance(path, PathLengthMetric)
    assert (path.path.space, path.path.sampling, path.path.crop) == ("z", "full", False)
    cropped = parse_metric("ppl_wend")
    assert isinstance(cropped, PathLengthMetric)
    assert cropped.path.crop
    assert cropped.seeds_used == 100_000
    assert count_of("12k") == 12_000


@pytest.mark.parametrize(
    ("name", "near"),
    [("fid50_ful", "fid50k_full"), ("FID50k_full", "fid50k_full"), ("ppl_wedn", "ppl_wend"),
     ("fd_face5k", "fd_faces5k")],
)  # fmt: skip
def test_unknown_names_suggest_the_nearest(
    name: str, near: str, raises_error: Callable[..., Any]
) -> None:
    with raises_error(ConfigError, field="metrics", value=name, remedy=near):
        parse_metric(name)
    with raises_error(ConfigError, field="metrics", value=name):
        check_names([name])


def test_numbers_that_cannot_be(raises_error: Callable[..., Any]) -> None:
    for name, expected in (
        ("fid1_full", "n of 2 or more"),
        ("is9", "n of 10 or more"),
        ("pr1k1000_full", "k below n"),
    ):
        with raises_error(ConfigError, field="metrics", value=name, expected=expected):
            parse_metric(name)
    for name in ("fid0k_full", "fid_full", "nonsense", "pr5003", "pr500_"):
        with raises_error(ConfigError, field="metrics", value=name, problem="no metric"):
            parse_metric(name)
    with raises_error(ConfigError, field="metrics", value=""):
        check_names(["", " "])
    assert check_names(["is5k", " is5k", "fid5k"]) == ("is5k", "fid5k")
