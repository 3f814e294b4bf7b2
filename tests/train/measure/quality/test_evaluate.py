from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from segan.runtime.errors import ConfigError, DataError, OutputError
from segan.train.data.dataset import ImageDataset, build_dataset
from segan.train.measure.control.attribute_files import save_attributes
from segan.train.measure.control.attribute_training import HeldOutScores
from segan.train.measure.control.attributes import FEATURES, AttributeNetwork
from segan.train.measure.models.model import ImageOptions
from segan.train.measure.models.torch_graphs import generator_model
from segan.train.measure.quality.context import MetricContext
from segan.train.measure.quality.evaluate import compare, evaluate, requests_of
from segan.train.measure.quality.features import DetectorKind, FeatureRequest
from segan.train.measure.quality.record import ScoreRecord, append_scores, read_scores, scores_file
from segan.train.measure.quality.registry import parse_metric
from segan.train.networks.stylegan2.generator import Generator

Make = Callable[..., MetricContext]
Write = Callable[..., Path]

KEYS = [
    "metric",
    "value",
    "values",
    "interval",
    "intervals",
    "protocol",
    "model",
    "seconds",
    "segan",
    "time",
]
PROTOCOL = ["n", "seeds", "psi", "noise", "resize", "detector", "backend", "precision", "data"]


@pytest.fixture
def both(detector_file: Write) -> dict[str, Path]:
    return {"inception": detector_file("inception.pt"), "vgg16": detector_file("vgg16.pt")}


@pytest.mark.slow
def test_the_same_n_and_seeds_give_the_same_scores_and_a_whole_record(
    make_context: Make, generator: Generator, both: dict[str, Path], real_data: ImageDataset
) -> None:
    names = ("fid60_full", "kid50_full", "pr1k3_full", "is50", "ppl1k_wend", "fid40")
    metrics = [parse_metric(name) for name in names]

    def take(first_seed: int = 0) -> list[ScoreRecord]:
        context = make_context(generator, real_data, both, first_seed=first_seed)
        return evaluate(metrics, context, resamples=20)

    one, two = take(), take()
    assert [record.value for record in one] == [record.value for record in two]
    assert [record.interval for record in one] == [record.interval for record in two]
    assert [a.value != b.value for a, b in zip(one, take(5000), strict=True)] == [True] * len(one)
    for record, name in zip(one, names, strict=True):
        found = json.loads(msgspec.json.encode(record))
        assert list(found) == KEYS
        # Only a path length depends on more than what every protocol has.
        own = ["settings"] if name.startswith("ppl") else []
        assert list(found["protocol"]) == PROTOCOL + own
        assert found["metric"] == name
        low, high = found["interval"]
        assert low <= high
        assert (low <= found["value"] <= high) or name == "pr1k3_full"
    by_name = {record.metric: record for record in one}
    fid = by_name["fid60_full"].protocol
    assert (fid.n, fid.seeds, fid.psi, fid.noise) == (60, "0-59", 1.0, "random")
    assert (fid.backend, fid.precision, fid.resize) == ("torch", "fp32", "by the detector")
    assert fid.data is not None
    assert (fid.data.fingerprint, fid.data.images) == (real_data.fingerprint, 200)
    assert fid.detector is not None
    assert len(fid.detector.sha256) == 64
    first_n = by_name["fid40"].protocol.data
    assert first_n is not None
    assert first_n.images == 40
    assert by_name["is50"].protocol.data is None
    assert by_name["ppl1k_wend"].protocol.seeds == "0-1999"
    assert by_name["ppl1k_wend"].protocol.resize.startswith("the middle part")
    assert set(by_name["pr1k3_full"].values) == {"precision", "recall"}


def test_a_difference_is_paired(
    make_context: Make, generator: Generator, both: dict[str, Path], real_data: ImageDataset
) -> None:
    metrics = [parse_metric(name) for name in ("fid200_full", "kid100_full", "is50")]
    same = compare(
        metrics,
        make_context(generator, real_data, both),
        make_context(generator, real_data, both),
        resamples=50,
    )
    for entry in same:
        assert entry.difference.value == 0
        assert entry.difference.interval == (0, 0)
    # A generator that rounds its weights: the interval of the difference is far narrower than
    # that of either score.
    import copy

    rough = copy.deepcopy(generator)
    for value in rough.parameters():
        value.copy_(value.bfloat16().float())
    fid = compare(
        metrics[:1],
        make_context(rough, real_data, both),
        make_context(generator, real_data, both),
        resamples=50,
    )[0]
    assert fid.difference.metric == "fid200_full.difference"
    assert fid.difference.value == pytest.approx(fid.model.value - fid.against.value)
    assert fid.difference.interval is not None
    assert fid.model.interval is not None
    widths = [high - low for low, high in (fid.difference.interval, fid.model.interval)]
    assert widths[0] < widths[1] / 3
    low, high = fid.difference.interval
    assert low <= fid.difference.value <= high
    found = json.loads(msgspec.json.encode(fid.difference))
    assert list(found) == KEYS
    assert list(found["protocol"]) == [*PROTOCOL, "against"]
    assert found["values"]["resamples"] == 50


@pytest.mark.slow
def test_an_interval_holds_the_scores_of_other_seeds(
    make_context: Make, generator: Generator, both: dict[str, Path], real_data: ImageDataset
) -> None:
    metric = parse_metric("is200")
    record = evaluate([metric], make_context(generator, None, both), resamples=100)[0]
    others = [
        evaluate([metric], make_context(generator, None, both, first_seed=1000 * k))[0].value
        for k in range(1, 11)
    ]
    assert record.interval is not None
    width = record.interval[1] - record.interval[0]
    # Four standard deviations wide: 95 %.
    assert 2.0 < width / np.std(others) < 8.0


def test_other_generators_are_not_compared(
    make_context: Make,
    generator: Generator,
    conditional: Generator,
    both: dict[str, Path],
    raises_error: Callable[..., Any],
) -> None:
    metrics = [parse_metric("is50")]
    with raises_error(ConfigError, field="against", problem="c_dim"):
        compare(metrics, make_context(generator, None, both), make_context(conditional, None, both))
    quiet = generator_model(generator, ImageOptions(noise="none"))
    with raises_error(ConfigError, field="noise", value="none"):
        compare(metrics, make_context(generator, None, both), make_context(quiet, None, both))


def test_the_faces_features_need_no_data(
    make_context: Make,
    build_generator: Callable[..., Generator],
    tmp_path: Path,
    raises_error: Callable[..., Any],
) -> None:
    generator = build_generator(resolution=16)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = AttributeNetwork(16).eval()
        network.reference_mean.normal_()
        network.reference_covariance.copy_(torch.eye(FEATURES))
    scores = HeldOutScores({}, {})
    save_attributes(tmp_path / "net", network, faces=1, seed=0, epochs=1, held_out=1, scores=scores)
    context = make_context(generator, None, {"faces": tmp_path / "net"})
    record = evaluate([parse_metric("fd_faces50")], context)[0]
    assert record.value > 0
    assert record.protocol.detector is not None
    assert record.protocol.detector.name == "faces16"
    assert record.protocol.data is not None
    assert "built-in faces" in record.protocol.data.name
    small = make_context(build_generator(resolution=8), None, {"faces": tmp_path / "net"})
    with raises_error(ConfigError, field="resolution", value=8, expected="a multiple of 16"):
        evaluate([parse_metric("fd_faces50")], small)
    grey = make_context(build_generator(resolution=16, img_channels=1), None, {})
    with raises_error(ConfigError, field="img_channels", value=1):
        evaluate([parse_metric("fd_faces50")], grey)


def test_long_resampling_tells_how_far_it_has_come(
    make_context: Make,
    generator: Generator,
    both: dict[str, Path],
    real_data: ImageDataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes: list[str] = []
    metrics = [parse_metric("fid30_full"), parse_metric("kid30_full")]
    evaluate(metrics, make_context(generator, real_data, both, on_note=notes.append), resamples=3)
    assert notes == []  # it was quick
    monkeypatch.setattr("segan.train.measure.quality.context.NOTE_S", 0)
    evaluate(metrics, make_context(generator, real_data, both, on_note=notes.append), resamples=3)
    assert [note for note in notes if "fid" in note] == [
        f"fid30_full: {done} of 3 resamples" for done in (1, 2, 3)
    ]
    assert "kid30_full: 30 of 30 images' kernels for all resamples" in notes


@pytest.mark.parametrize("kind", ["fd_faces50", "kd_faces50", "pr_faces50_3"])
def test_of_the_faces_features_as_many_real_as_generated_or_all(
    make_context: Make,
    build_generator: Callable[..., Generator],
    raises_error: Callable[..., Any],
    kind: str,
) -> None:
    images = np.random.RandomState(3).randint(0, 256, (80, 3, 16, 16)).astype(np.uint8)
    generator = build_generator(resolution=16)

    def of(name: str, count: int) -> ScoreRecord:
        data = build_dataset("noise", images[:count])
        return evaluate([parse_metric(name)], make_context(generator, data))[0]

    first, some, full = of(kind, 80), of(kind, 50), of(f"{kind}_full", 80)
    assert first.value == some.value == of(f"{kind}_full", 50).value
    assert full.value != first.value or kind.startswith("pr")
    for record, count in ((first, 50), (full, 80)):
        assert record.protocol.data is not None
        assert record.protocol.data.images == count
    with raises_error(DataError, field="data", value=30, remedy=f"{kind}_full"):
        of(kind, 30)
    with raises_error(DataError, field="data", value=None):
        evaluate([parse_metric(f"{kind}_full")], make_context(generator))


@pytest.mark.slow
def test_memory_of_moments_does_not_grow_with_n(
    make_context: Make, generator: Generator, detector_file: Write, real_data: ImageDataset
) -> None:
    import tracemalloc

    width = 128
    given = {"inception": detector_file("inception.pt", 8, width)}

    def peak(n: int) -> int:
        quiet = generator_model(generator, ImageOptions(noise="const", batch_size=16))
        context = make_context(quiet, real_data, given)
        metric = parse_metric(f"fid{n}_full")
        (request,) = requests_of([metric])
        assert isinstance(request, FeatureRequest)
        context.real(request)
        tracemalloc.start()
        try:
            context.prepare([request])
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(50)  # what is made once
    # Kept as rows, the features alone would take this much more.
    rows = (600 - 100) * width * 4
    assert peak(600) - peak(100) < rows / 5


def test_a_model_is_scored_by_name(
    generator: Generator, both: dict[str, Path], real_data: ImageDataset, make_context: Make
) -> None:
    from segan.train.measure import ImageOptions, score

    model = generator_model(generator, ImageOptions(noise="const"))
    given: dict[DetectorKind, Path] = {"inception": both["inception"]}
    found = score(model, ["fid40_full", "is40"], data=real_data, detectors=given, first_seed=3)
    context = make_context(model, real_data, both, first_seed=3)
    expected = evaluate([parse_metric(name) for name in ("fid40_full", "is40")], context)
    assert [record.value for record in found] == [record.value for record in expected]
    assert [record.protocol for record in found] == [record.protocol for record in expected]


# Records.


def record(value: float = 1.0) -> ScoreRecord:
    from segan.train.measure.models.model import ModelRecord
    from segan.train.measure.quality.record import Protocol

    return ScoreRecord(
        metric="fid5k_full",
        value=value,
        values={},
        interval=None,
        protocol=Protocol(
            n=5000,
            seeds="0-4999",
            psi=1.0,
            noise="random",
            resize="by the detector",
            detector=None,
            backend="cpu",
            precision="fp32",
            data=None,
        ),
        model=ModelRecord(path="a", kind="bundle", kimg=None, sha256="0"),
        seconds=1.0,
        segan="0",
        time="2026-01-01T00:00:00Z",
    )


def test_lines_are_added_and_a_torn_one_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    append_scores(path, [record(1), record(2)])
    with path.open("ab") as file:
        file.write(b'{"metric": "fid')  # as if another program was killed
    append_scores(path, [record(3)])
    assert [entry.value for entry in read_scores(path)] == [1, 2, 3]
    assert len(path.read_bytes().splitlines()) == 4
    assert read_scores(tmp_path / "none.jsonl") == []


def test_a_write_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.jsonl"
    append_scores(path, [record(1)])
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("segan.train.measure.quality.record.os.fsync", full)
    with pytest.raises(OutputError, match="disk is full"):
        append_scores(path, [record(2)])
    assert path.read_bytes() == before
    with pytest.raises(OutputError):
        append_scores(path / "below", [record(2)])


def _append(path: Path, value: int) -> None:
    for _ in range(20):
        append_scores(path, [record(value)])


def test_two_processes_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    spawn = multiprocessing.get_context("fork")
    workers = [spawn.Process(target=_append, args=(path, value)) for value in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(entry.value for entry in read_scores(path)) == [0] * 20 + [1] * 20


def test_scores_lie_with_their_model(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "00000-faces"
    assert scores_file(str(run / "checkpoints" / "nimg00000001"), "checkpoint") == (
        run / "metrics.jsonl"
    )
    assert scores_file(str(tmp_path / "faces.segan"), "bundle") == tmp_path / "faces.metrics.jsonl"
    zipped = scores_file(str(tmp_path / "faces.segan.zip"), "bundle")
    assert zipped == tmp_path / "faces.metrics.jsonl"
    from segan.runtime.bundle.shipped import shipped_bundle

    assert scores_file(str(shipped_bundle()), "bundle") is None
