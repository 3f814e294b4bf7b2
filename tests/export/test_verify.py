"""Verification: in a process of its own, of mismatched bundles, and of in-place operators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch; the bare environment has none")

from segan.export import verify  # noqa: E402
from segan.export.bundle_images import compute_images  # noqa: E402
from segan.export.directions.write import DirectionsConfig, write_directions  # noqa: E402
from segan.export.exporter import ExportConfig, export_bundle  # noqa: E402
from segan.export.reference import make_reference  # noqa: E402
from segan.export.verify import verify_bundle  # noqa: E402
from segan.runtime.bundle.reader import open_bundle  # noqa: E402
from segan.runtime.errors import BundleError, VerifyError  # noqa: E402
from segan.runtime.generate.generator import load  # noqa: E402

if TYPE_CHECKING:
    from segan.train.networks.stylegan2.generator import Generator
    from tests.conftest import RaisesError

Make = Callable[..., "Generator"]


@pytest.fixture(scope="module")
def generator(make_generator: Make) -> Generator:
    return make_generator(mode=0, c_dim=2)


@pytest.fixture(scope="module")
def bundle(generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "g.segan"
    export_bundle(generator, path, ExportConfig(batch_sizes=(1,)))
    return path


def _reference(generator: Generator, bundle: Path, folder: Path) -> Any:
    manifest = open_bundle(bundle).manifest
    return make_reference(generator, manifest, folder, seeds=[3, 4, 5], batch_sizes=(1, 2))


def test_the_own_process_finds_the_same(
    generator: Generator, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = verify_bundle(_reference(generator, bundle, tmp_path), bundle).record
    monkeypatch.setattr(verify, "_OWN_PROCESS_BYTES", 0)
    outside = verify_bundle(_reference(generator, bundle, tmp_path), bundle).record
    assert outside.cases.keys() == inside.cases.keys()
    assert outside.batch_sizes == (1, 2)
    assert 0 < outside.max_error < 1e-5
    assert 0 < inside.max_error < 1e-5


def test_the_own_process_notices_a_difference(
    generator: Generator,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raises_error: RaisesError,
) -> None:
    monkeypatch.setattr(verify, "_OWN_PROCESS_BYTES", 0)
    reference = _reference(generator, bundle, tmp_path)
    file = tmp_path / f"{reference.batches[2].name}.expected.npy"
    np.save(file, np.load(file) + 0.5)
    found = verify_bundle(reference, bundle)
    assert found.max_error == pytest.approx(0.5, abs=1e-4)
    with raises_error(
        VerifyError, field="max_error", value=found.max_error, problem="(psi 0.7, coords moved"
    ):
        found.check()


def test_the_own_process_tells_why_it_failed(tmp_path: Path) -> None:
    missing = tmp_path / "none.segan"
    with pytest.raises(BundleError, match=r"none\.segan"):
        list(compute_images(tmp_path, ["a"], missing, "cpu", "fp32", own_process=True))


def test_a_bundle_with_directions_is_not_what_was_exported(
    generator: Generator, bundle: Path, tmp_path: Path, raises_error: RaisesError
) -> None:
    out = tmp_path / "d.segan"
    with load(bundle) as opened:
        write_directions(opened, out, DirectionsConfig(method="sefa", dims=2, samples=300))
    with raises_error(VerifyError, field="coords_dim", remedy="Directions were added"):
        verify_bundle(_reference(generator, bundle, tmp_path), out)


@pytest.mark.parametrize("architecture", ["skip", "residual", "original"])
def test_steps_in_place_compute_the_same(make_generator: Make, architecture: str) -> None:
    generator = make_generator(mode=0, architecture=architecture)
    for block in generator.synthesis.block_list():
        block.conv1.clamp = 0.7
    z, noise = torch.randn(2, 6), generator.synthesis.noise_const()
    before = [value.clone() for value in generator.state_dict().values()]
    recorded = generator(z, noise=noise)
    with torch.inference_mode():
        found = [generator(z, noise=noise) for _ in range(2)]
    for images in found:
        assert torch.equal(images, recorded)
    for value, kept in zip(generator.state_dict().values(), before, strict=True):
        assert torch.equal(value, kept)
