"""Attribute networks as files: round trip, and every bad file refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from segan.runtime.errors import CheckpointError
from segan.runtime.files.atomic import sha256_file
from segan.train.measure.control.attribute_files import (
    RECORD,
    WEIGHTS,
    load_attributes,
    save_attributes,
)
from segan.train.measure.control.attribute_training import HeldOutScores
from segan.train.measure.control.attributes import AttributeNetwork
from segan.train.runs.tensors import read_tensors, write_tensors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = AttributeNetwork(16).eval()
    network.reference_mean.normal_()
    save_attributes(
        tmp_path / "net",
        network,
        faces=10,
        seed=0,
        epochs=1.0,
        held_out=5,
        scores=HeldOutScores({"smile": 0.5}, {"smile": 0.25}),
    )
    return tmp_path / "net"


def edit(folder: Path, **changes: Any) -> None:
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps(record | changes))


def rewrite(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    write_tensors(folder / WEIGHTS, tensors)
    edit(folder, sha256=sha256_file(folder / WEIGHTS))


def test_round_trip_keeps_the_network_to_half_precision(folder: Path) -> None:
    torch.manual_seed(0)
    network = AttributeNetwork(16).eval()
    loaded, record = load_attributes(folder)
    images = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(loaded(images), network(images), atol=0.01, rtol=0.01)
    assert float(loaded.reference_mean.abs().sum()) > 0
    assert record.scores == {"smile": 0.5}
    assert record.degraded == {"smile": 0.25}
    assert record.versions["torch"]
    assert not loaded.training
    assert not loaded.head.weight.requires_grad
    assert (folder / WEIGHTS).stat().st_size < 1_000_000


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as error:
        load_attributes(tmp_path)
    assert (error.value.field, error.value.value) == ("path", str(tmp_path / RECORD))


@pytest.mark.parametrize(
    ("changes", "field", "part"),
    [
        ({"format": "segan.attributes/1"}, "format", "segan.attributes/1"),
        ({"attributes": ["age"]}, "attributes", "attributes"),
        ({"resolution": 48}, "path", "resolution"),
        ({"extra": 1}, "path", "extra"),
        ({"sha256": "0"}, "path", "sha256"),
        ({"resolution": 32}, "path", WEIGHTS),
    ],
)
def test_bad_records_are_refused(
    folder: Path, changes: dict[str, Any], field: str, part: str, raises_error: Callable[..., Any]
) -> None:
    edit(folder, **changes)
    with raises_error(CheckpointError, field=field, problem=part):
        load_attributes(folder)


def test_a_cut_record_is_refused(folder: Path) -> None:
    path = folder / RECORD
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(CheckpointError, match="truncated or not JSON"):
        load_attributes(folder)


def test_a_cut_or_altered_file_is_refused(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:1000])
    with pytest.raises(CheckpointError, match="truncated"):
        load_attributes(folder)
    (folder / WEIGHTS).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="altered"):
        load_attributes(folder)
    (folder / WEIGHTS).write_bytes(b"\x80\x04pickled")
    with pytest.raises(CheckpointError, match="pickle"):
        load_attributes(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match="missing"):
        load_attributes(folder)


def test_tensors_of_another_network_or_not_finite_are_refused(folder: Path) -> None:
    tensors = read_tensors(folder / WEIGHTS)
    bias = tensors.pop("head.bias")
    rewrite(folder, tensors)
    with pytest.raises(CheckpointError, match=r"head\.bias is missing"):
        load_attributes(folder)
    rewrite(folder, {**tensors, "head.bias": torch.full_like(bias, float("nan"))})
    with pytest.raises(CheckpointError, match="not finite"):
        load_attributes(folder)
