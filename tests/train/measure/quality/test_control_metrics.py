"""Control as metrics: that records, files and errors say what was measured."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segan.runtime.errors import ConfigError, DataError
from segan.train.data.dataset import build_dataset
from segan.train.measure.control.attribute_files import save_attributes
from segan.train.measure.control.attribute_training import HeldOutScores
from segan.train.measure.control.attributes import AttributeNetwork
from segan.train.measure.control.label_classifier import train_label_classifier
from segan.train.measure.control.report import write_control
from segan.train.measure.quality import control_metrics
from segan.train.measure.quality.context import MetricContext
from segan.train.measure.quality.control_metrics import control_json
from segan.train.measure.quality.evaluate import compare, evaluate
from segan.train.measure.quality.record import control_file
from segan.train.measure.quality.registry import parse_metric
from segan.train.networks.config import NetworkConfig, SubspaceConfig
from segan.train.networks.stylegan2.generator import Generator
from segan.train.report.measured import estimate_of, read_control

Make = Callable[..., MetricContext]


@pytest.fixture
def network(tmp_path: Path) -> dict[str, Path]:
    """An attribute network of 16² with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = AttributeNetwork(16).eval()
    save_attributes(
        tmp_path / "net", found, faces=1, seed=0, epochs=1, held_out=1, scores=HeldOutScores({}, {})
    )
    return {"faces": tmp_path / "net"}


def small(mode: int = 2) -> Generator:
    network = NetworkConfig(resolution=16, z_dim=6, w_dim=8, channel_max=4, mapping_layers=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        subspace = SubspaceConfig(mode=mode, dims=1)  # type: ignore[arg-type]
        generator = Generator(network, subspace)
        for value in generator.parameters():
            value.data.add_(torch.randn_like(value) * 0.1)
    return generator.eval().requires_grad_(False)


def test_sliders_are_scored_and_their_table_is_what_the_report_reads(
    make_context: Make, network: dict[str, Path], tmp_path: Path
) -> None:
    context = make_context(small(), None, network, first_seed=5)
    record = evaluate([parse_metric("control4")], context)[0]
    assert record.values["sliders"] == 3
    assert record.value == record.values["controlled"]
    assert record.interval is not None
    assert record.intervals["leakage"][0] <= record.values["leakage"]
    assert (record.protocol.n, record.protocol.seeds) == (4, "5-8")
    assert record.protocol.settings["steps"] == 5
    assert record.protocol.detector is not None
    assert record.protocol.detector.name == "faces16"
    content = control_json(context)
    assert content is not None
    assert content["protocol"]["first_seed"] == 5
    path = control_file(tmp_path / "metrics.jsonl")
    write_control(path, content)
    found = read_control(path)
    assert found is not None
    assert [score.slider for score in found.sliders] == ["L0N0D0", "L1N0D0", "L2N0D0"]
    assert estimate_of(found.controlled).value == record.value


def test_a_model_against_itself_differs_by_nothing(
    make_context: Make, network: dict[str, Path]
) -> None:
    generator = small()
    one, two = (make_context(generator, None, network) for _ in range(2))
    found = compare([parse_metric("control3")], one, two, resamples=4)[0]
    assert found.difference.value == 0
    assert found.difference.interval == (0, 0)


@pytest.mark.parametrize("mode", [0, 2])
def test_codes_are_read_once_for_all(
    make_context: Make, network: dict[str, Path], mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_metrics, "REFITS", 2)
    seen: list[int] = []
    context = make_context(small(mode), None, network, on_images=seen.append)
    metrics = [parse_metric(name) for name in ("separability20", "mig400", "dci40")]
    separability, mig, dci = evaluate(metrics, context)
    assert sum(seen) == 400
    assert separability.value == separability.values["w"] >= 1
    space = "coords" if mode else "w"
    assert set(mig.values) == ({"z", "w", "coords", "coords+z"} if mode else {"z", "w"})
    assert mig.value == mig.values[space]
    assert mig.interval is not None
    assert dci.value == dci.values[f"{space}/forest/disentanglement"]
    assert f"{space}/lasso/informativeness" in dci.intervals
    assert control_json(context) is None  # no slider was moved


def test_what_cannot_be_measured_is_said_first(
    make_context: Make, network: dict[str, Path], raises_error: Callable[..., Any]
) -> None:
    images = np.random.RandomState(0).randint(0, 256, (30, 3, 16, 16)).astype(np.uint8)
    context = make_context(small(), build_dataset("mine", images), network)
    classes = parse_metric("separability20_classes")
    with raises_error(DataError, field="data", value="mine", problem="no labels"):
        classes.check(context)
    with raises_error(DataError, field="data", value=None):
        classes.check(make_context(small(), None, network))
    with raises_error(ConfigError, field="metrics", value="control"):
        parse_metric("control").check(make_context(small(0), None, network))
    for name, fewest in (("mig100", 400), ("dci20", 40), ("control1", 2)):
        with raises_error(ConfigError, field="metrics", expected=f"n of {fewest} or more"):
            parse_metric(name)
    for name, nearest in (("contrl", "control"), ("separabilty10k", "separability10k")):
        with raises_error(ConfigError, field="metrics", value=name, remedy=nearest):
            parse_metric(name)


def test_classes_of_the_users_data_are_asked_for(
    make_context: Make, network: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = functools.partial(train_label_classifier, steps=40, batch_size=16)
    monkeypatch.setattr(control_metrics, "train_label_classifier", quick)
    labels = np.arange(60) % 2
    images = np.repeat(labels[:, None, None, None] * 200, 3, 1) + np.zeros((1, 1, 16, 16))
    data = build_dataset("two", images.astype(np.uint8), labels, ("dark", "light"))
    record = evaluate(
        [parse_metric("separability20_classes")], make_context(small(), data, network)
    )[0]
    assert record.value >= 1
    assert record.values["accuracy"] == 1
    assert record.protocol.data is not None


@pytest.mark.parametrize(
    ("scores", "control"),
    [
        ("metrics.jsonl", "control.json"),
        ("faces.metrics.jsonl", "faces.control.json"),
        ("all.jsonl", "all.control.json"),
    ],
)
def test_the_table_lies_beside_the_scores(scores: str, control: str) -> None:
    assert control_file(Path("runs") / scores) == Path("runs") / control
