from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segan.runtime.errors import BackendError, ConfigError, DataError
from segan.train.data.dataset import ImageDataset, build_dataset
from segan.train.measure.models.model import ImageOptions
from segan.train.measure.models.torch_graphs import generator_model
from segan.train.measure.quality.background import in_background
from segan.train.measure.quality.context import MetricContext
from segan.train.measure.quality.evaluate import requests_of
from segan.train.measure.quality.feature_cache import cached_arrays, entry_path
from segan.train.measure.quality.features import FeatureRequest
from segan.train.measure.quality.gaussian import frechet_distance, moments_of
from segan.train.measure.quality.registry import parse_metric
from segan.train.networks.stylegan2.generator import Generator

Make = Callable[..., MetricContext]
Write = Callable[..., Path]


def request(n: int, form: str = "rows", *, real: bool = True) -> FeatureRequest:
    return FeatureRequest(detector="inception", form=form, n=n, real=real)  # type: ignore[arg-type]


def test_features_are_those_of_the_images_whatever_the_batches(
    make_context: Make, generator: Generator, detector_file: Write, real_data: ImageDataset
) -> None:
    given = {"inception": detector_file()}
    model = generator_model(generator, ImageOptions(batch_size=7))
    context = make_context(model, real_data, given, batch_size=5, first_seed=3)
    rows = context.generated(request(20)).rows
    assert rows is not None
    images = np.concatenate(list(model.images(range(3, 23))))
    detector = context.detectors.get("inception")
    expected = detector(torch.from_numpy(images).permute(0, 3, 1, 2), "features")
    np.testing.assert_allclose(rows, expected.numpy(), rtol=1e-5)
    real = context.real(request(20)).rows
    assert real is not None
    assert real.shape == (200, 6)


def test_one_pass_serves_all_requests(
    make_context: Make, generator: Generator, detector_file: Write, real_data: ImageDataset
) -> None:
    seen: list[int] = []
    context = make_context(
        generator, real_data, {"inception": detector_file()}, on_images=seen.append
    )
    metrics = [parse_metric(name) for name in ("fid50_full", "kid30_full", "is40")]
    context.prepare(requests_of(metrics, resample=True))
    # 200 real images once for rows (moments come from them), 50 generated ones.
    assert sum(seen) == 250
    found = [metric.compute(context).value for metric in metrics]
    assert sum(seen) == 250
    rows = context.generated(request(50, real=False)).rows
    real = context.real(request(1)).rows
    assert rows is not None
    assert real is not None
    assert found[0] == pytest.approx(frechet_distance(moments_of(rows), moments_of(real)), rel=1e-9)


def test_features_of_the_data_are_kept_by_content(
    make_context: Make,
    generator: Generator,
    detector_file: Write,
    real_data: ImageDataset,
    own_cache: Path,
) -> None:
    path = detector_file()
    notes: list[str] = []

    def real_rows(data: ImageDataset) -> tuple[np.ndarray, int]:
        seen: list[int] = []
        context = make_context(
            generator, data, {"inception": path}, on_images=seen.append, on_note=notes.append
        )
        rows = context.real(request(10)).rows
        assert rows is not None
        return rows, sum(seen)

    first, made = real_rows(real_data)
    assert made == 200
    again, made = real_rows(real_data)
    assert made == 0
    np.testing.assert_array_equal(first, again)
    # Other pixels, other features.
    changed = build_dataset("noise", 255 - real_data.images)
    assert real_rows(changed)[1] == 200
    entries = sorted((own_cache / "features").iterdir())
    assert len(entries) == 2
    for entry in entries:
        data = bytearray(entry.read_bytes())
        data[len(data) // 2] ^= 1
        entry.write_bytes(bytes(data))
    repaired, made = real_rows(real_data)
    assert made == 200
    assert "damaged" in notes[-1]
    np.testing.assert_array_equal(first, repaired)
    assert real_rows(real_data)[1] == 0
    # Another detector file, other features.
    path = detector_file("other.pt", 8, 7)
    assert real_rows(real_data)[1] == 200


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip at all"])
def test_an_entry_cut_short_is_made_again(content: bytes) -> None:
    key: dict[str, str | int] = {"data": "a", "images": 3}
    arrays = {"rows": np.ones((3, 2), np.float32)}
    cached_arrays(key, lambda: arrays)
    entry_path(key).write_bytes(content)
    notes: list[str] = []
    found = cached_arrays(key, lambda: arrays, on_note=notes.append)
    np.testing.assert_array_equal(found["rows"], arrays["rows"])
    assert len(notes) == 1
    found = cached_arrays(key, lambda: pytest.fail("it is kept"), on_note=notes.append)
    np.testing.assert_array_equal(found["rows"], arrays["rows"])


def test_a_cache_that_cannot_be_written_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SEGAN_CACHE", str(tmp_path / "file"))
    notes: list[str] = []
    arrays = {"rows": np.ones((3, 2), np.float32)}
    assert cached_arrays({"a": 1}, lambda: arrays, on_note=notes.append) is arrays
    assert "not stored" in notes[0]


def test_data_that_does_not_fit_is_refused(
    make_context: Make,
    generator: Generator,
    conditional: Generator,
    real_data: ImageDataset,
    raises_error: Callable[..., Any],
) -> None:
    large = build_dataset("large", np.zeros((4, 3, 16, 16), np.uint8))
    with raises_error(DataError, field="data", value=16, remedy="--resolution 8"):
        make_context(generator, large)
    grey = build_dataset("grey", np.zeros((4, 1, 8, 8), np.uint8))
    with raises_error(DataError, field="data", value=1, expected="3 channels"):
        make_context(generator, grey)
    with raises_error(DataError, field="data", value=0, problem="'noise' has no labels"):
        make_context(conditional, real_data)
    two = build_dataset("two", real_data.images, np.arange(200) % 2, ("a", "b"))
    with raises_error(DataError, field="data", value=2, problem="3 classes"):
        make_context(conditional, two)


def test_classes_are_drawn_as_the_data_has_them(
    make_context: Make, conditional: Generator, real_data: ImageDataset
) -> None:
    labels = np.where(np.arange(200) < 20, 0, 2)  # 10 % are 0, none is 1
    data = build_dataset("odd", real_data.images, labels, ("a", "b", "c"))
    model = generator_model(conditional)
    equal = model.classes_of(range(1500))
    assert equal is not None
    np.testing.assert_allclose(np.bincount(equal) / 1500, 1 / 3, atol=0.04)
    make_context(model, data)
    classes = model.classes_of(range(1500))
    assert classes is not None
    np.testing.assert_allclose(np.bincount(classes) / 1500, [0.1, 0, 0.9], atol=0.03)
    # A seed's class does not depend on what else is asked for.
    alone = model.classes_of([17])
    assert alone is not None
    assert alone[0] == classes[17]


def test_too_few_images(
    make_context: Make,
    generator: Generator,
    detector_file: Write,
    real_data: ImageDataset,
    raises_error: Callable[..., Any],
) -> None:
    given = {"inception": detector_file("inception.pt"), "vgg16": detector_file("vgg.pt")}
    context = make_context(generator, real_data, given)
    with raises_error(DataError, field="data", value=200, remedy="fid500_full"):
        parse_metric("fid500").check(context)
    few = build_dataset("few", real_data.images[:3])
    with raises_error(DataError, field="data", value=3, problem="pr1k3_full"):
        parse_metric("pr1k3_full").check(make_context(generator, few, given))
    one = build_dataset("one", real_data.images[:1])
    with raises_error(DataError, field="data", value=1, problem="kid50_full"):
        parse_metric("kid50_full").check(make_context(generator, one, given))
    with raises_error(DataError, field="data", value=None, remedy="`data PATH`"):
        parse_metric("fid50_full").check(make_context(generator, None, given))
    # Fewer images than features have a value, and a word about it.
    notes: list[str] = []
    few = build_dataset("few", real_data.images[:5])
    context = make_context(generator, few, given, on_note=notes.append)
    parse_metric("fid50_full").compute(context)
    assert "covariance is singular" in notes[0]


def test_unlabelled_data_is_refused_where_classes_are_needed(
    make_context: Make,
    generator: Generator,
    real_data: ImageDataset,
    monkeypatch: pytest.MonkeyPatch,
    raises_error: Callable[..., Any],
) -> None:
    metric = parse_metric("fid50_full")
    monkeypatch.setattr(type(metric), "labels", True)
    with raises_error(DataError, field="data", value="noise", problem="no labels"):
        metric.check(make_context(generator, real_data))


def test_seeds_end_where_seeds_end(
    make_context: Make, generator: Generator, raises_error: Callable[..., Any]
) -> None:
    context = make_context(generator, first_seed=2**32 - 10)
    assert len(context.seeds(10)) == 10
    with raises_error(ConfigError, field="seed", value=2**32 - 10, problem="11"):
        context.seeds(11)


def test_images_that_are_not_finite_are_an_error(
    make_context: Make, generator: Generator, detector_file: Write, real_data: ImageDataset
) -> None:
    generator.synthesis.block_list()[0].const.fill_(float("nan"))
    context = make_context(generator, real_data, {"inception": detector_file()})
    with pytest.raises(BackendError, match="not finite"):
        context.prepare(requests_of([parse_metric("fid50_full")]))


def test_a_background_iterator_gives_its_items_and_its_error() -> None:
    with in_background(iter(range(10))) as items:
        assert list(items) == list(range(10))

    def failing() -> Iterator[int]:
        yield 1
        raise DataError("broken")

    with pytest.raises(DataError, match="broken"), in_background(failing()) as items:
        list(items)


def test_a_background_thread_ends_with_its_block() -> None:
    import threading

    def endless() -> Iterator[int]:
        while True:
            yield 0

    def take_one() -> None:
        with in_background(endless()) as items:
            assert next(items) == 0
            raise KeyError

    with pytest.raises(KeyError):
        take_one()
    assert not any(thread.name == "images" for thread in threading.enumerate())
