"""``segan export --trt``: engines ahead of time by the real library, and on the fake GPU."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from segan.cli.main import run
from segan.runtime.errors import BackendError

pytest.importorskip("torch", reason="needs torch; the bare environment has none")

Capture = pytest.CaptureFixture[str]

#: End of the message of a failed build.
KEPT = "The bundle squares.segan is written and verified, without engines."


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A folder with one run in ``runs``, of 8² and mode 2, and its bundle as it was exported."""
    import torch

    from segan.export.exporter import export_bundle
    from segan.train.networks.config import NetworkConfig, SubspaceConfig
    from segan.train.networks.stylegan2.generator import Generator
    from segan.train.runs.checkpoint import save_checkpoint
    from segan.train.runs.config import TrainConfig

    folder = tmp_path_factory.mktemp("exported")
    network = NetworkConfig(resolution=8, z_dim=6, w_dim=8, channel_max=4, mapping_layers=2)
    config = TrainConfig(network=network, subspace=SubspaceConfig(dims=3), batch_size=4)
    torch.manual_seed(0)
    save_checkpoint(
        folder / "runs" / "00000-squares-mode2-paper",
        Generator(network, config.subspace).state_dict(),
        {"step": torch.zeros(1)},
        name="squares",
        cur_nimg=40,
        step=10,
        class_names=(),
        data_fingerprint="0" * 64,
        config=config,
        versions={"segan": "0.1.0", "torch": str(torch.__version__)},
    )
    return folder, export_bundle(folder / "runs" / "00000-squares-mode2-paper", folder / "b.segan")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: tuple[Path, Any]) -> Path:
    """A folder with that run, where exporting it takes no time."""
    from segan.export import exporter

    folder, result = exported
    shutil.copytree(folder / "runs", tmp_path / "runs")

    def copy(_loaded: Any, out: Path, _config: Any, on_step: Any, overwrite: bool) -> Any:
        shutil.copytree(result.path, out)
        return dataclasses.replace(result, path=out)

    monkeypatch.setattr(exporter, "export_bundle", copy)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from segan.export import engines
    from segan.runtime.backends.tensorrt import bundle

    problem = "no NVIDIA driver is installed here"
    monkeypatch.setattr(bundle, "why_no_gpu", lambda: problem)
    monkeypatch.setattr(engines, "why_not", lambda backend: BackendError(problem))


@pytest.fixture
def put_in(
    home: Path, fake_gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Any]:
    """put_in(kind) puts a fake GPU with that library into the machine."""
    from segan.export import engines
    from segan.runtime.backends.tensorrt import bundle

    def put(kind: str) -> Any:
        card = fake_gpu.Card(kind, largest=2)
        card.put_in(monkeypatch, home / "cache")
        monkeypatch.setattr(bundle, "find_library", lambda: card.library)
        monkeypatch.setattr(bundle, "require_library", lambda: card.library)
        monkeypatch.setattr(bundle, "cuda_devices", lambda: [fake_gpu.CARD])
        monkeypatch.setattr(bundle, "why_no_gpu", lambda: None)
        monkeypatch.setattr(engines, "why_not", lambda backend: None)
        return card

    return put


def _needs_rtx() -> None:
    pytest.importorskip(
        "tensorrt_rtx_bindings", reason="needs tensorrt_rtx_bindings; the bare environment has none"
    )
    from segan.runtime.backends.tensorrt.library import find_library

    library = find_library()
    if library is None or not library.is_rtx:
        pytest.skip("TensorRT is installed, which builds on a GPU only")


def test_ahead_of_time_without_a_gpu(home: Path, no_gpu: None, capsys: Capture) -> None:
    _needs_rtx()
    assert run(["export", "--trt"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    targets = "GPUs of compute capability 8.0, 8.6, 8.9, 12.0"
    assert f"engines for {targets}, which run only there:" in lines
    assert sum("built in" in line for line in lines) == 3
    assert lines[-1].startswith("next: segan sweep squares.segan")
    assert "synthesis fp32 engine:" in captured.err
    assert "the engines' images were not verified: no NVIDIA driver" in captured.err
    engines = sorted(path.name for path in (home / "squares.segan" / "engines").glob("*.engine"))
    assert [name.rpartition(".fp32.")[0] for name in engines] == ["mapping", "offsets", "synthesis"]
    # The bundle itself is the same as without engines.
    assert run(["info", "--check", "squares.segan"]) == 0
    assert run(["generate", "squares.segan", "--backend", "cpu", "--seeds", "1", "-o", "out"]) == 0


def test_for_stated_gpus(home: Path, no_gpu: None, capsys: Capture) -> None:
    _needs_rtx()
    assert run(["export", "--trt", "--trt-arch", "8.9, 12.0", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert len(result["engines"]) == 3
    for engine in result["engines"]:
        assert engine["target"] == "GPUs of compute capability 8.9, 12.0"
        assert Path(engine["file"]).stat().st_size == engine["bytes"] > 1000


def test_what_the_library_cannot_build(home: Path, no_gpu: None, capsys: Capture) -> None:
    _needs_rtx()
    assert run(["export", "--trt", "--trt-arch", "7.5"]) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert "compute capability 7.5" in message
    assert message.endswith(KEPT)
    assert run(["info", "--check", "squares.segan"]) == 0


@pytest.mark.parametrize("kind", [None, "tensorrt"])
def test_the_bundle_stays_when_there_can_be_no_engines(
    home: Path,
    no_gpu: None,
    capsys: Capture,
    kind: str | None,
    fake_gpu: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from segan.runtime.backends.tensorrt import library as tensorrt_api

    library = None if kind is None else fake_gpu.Card(kind).library
    monkeypatch.setattr(tensorrt_api, "find_library", lambda: library)
    assert run(["export", "--trt"]) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.endswith(KEPT)
    assert "pip install 'segan[tensorrt-rtx]'" in message
    assert ("no NVIDIA driver is installed here" in message) == (kind == "tensorrt")
    assert run(["info", "--check", "squares.segan"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trt-arch", "8.9"], "--trt-arch needs --trt"),
        (["--trt", "--trt-arch", "ada"], "--trt-arch is 'ada'; expected compute capabilities"),
        (["--trt", "--trt-arch", "8.9,"], "--trt-arch is '8.9,'; expected"),
        (
            ["--trt", "--trt-arch", "9.0"],
            "tensorrt_rtx 1.7.1 does not build for 9.0; expected some of 8.6, 8.9.",
        ),
    ],
)
def test_wrong_use(
    home: Path,
    capsys: Capture,
    put_in: Callable[[str], Any],
    arguments: list[str],
    message: str,
) -> None:
    class Capabilities:
        __members__ = {"NONE": 0, "CURRENT": 1, "SM86": 2, "SM89": 3}  # noqa: RUF012

    put_in("tensorrt_rtx").trt.ComputeCapability = Capabilities
    assert run(["export", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (home / "squares.segan").exists()


def test_ahead_of_time_is_not_for_tensorrt(
    home: Path, capsys: Capture, put_in: Callable[[str], Any]
) -> None:
    put_in("tensorrt")
    assert run(["export", "--trt", "--trt-arch", "8.9"]) == 2
    assert "tensorrt builds only for the GPU of this machine" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["tensorrt", "tensorrt_rtx"])
def test_with_a_gpu_engines_are_verified(
    home: Path, capsys: Capture, put_in: Callable[[str], Any], kind: str
) -> None:
    card = put_in(kind)
    assert run(["export", "--trt"]) == 0
    captured = capsys.readouterr()
    assert "engines for NVIDIA Fake, which run only there:" in captured.out
    assert "verified on tensorrt in fp32: max error" in captured.err
    manifest = json.loads((home / "squares.segan" / "manifest.json").read_text())
    cpu, trt = manifest["verification"]
    assert (cpu["backend"], trt["backend"], trt["precision"]) == ("cpu", "tensorrt", "fp32")
    assert trt["max_error"] <= trt["tolerance"] == 1e-4
    assert trt["batch_sizes"] == cpu["batch_sizes"]
    # Verification and later commands load the engines that were built.
    assert card.trt.builds == ["mapping", "offsets", "synthesis"]
    assert run(["generate", "squares.segan", "--seeds", "0-4", "-o", "out", "-v"]) == 0
    assert "backend: tensorrt, fp32" in capsys.readouterr().err
    assert card.trt.builds == ["mapping", "offsets", "synthesis"]
    assert len(list((home / "out").glob("*.png"))) == 5


def test_engines_whose_images_differ(
    home: Path,
    capsys: Capture,
    put_in: Callable[[str], Any],
    fake_gpu: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put_in("tensorrt")
    right = fake_gpu.Engine.compute

    def wrong(self: Any, feeds: Any) -> Any:
        return {name: value + (name == "image") for name, value in right(self, feeds).items()}

    monkeypatch.setattr(fake_gpu.Engine, "compute", wrong)
    assert run(["export", "--trt"]) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert "fp32 engines differ from the checkpoint's by up to 1, PSNR 6.0 dB;" in message
    assert "expected at most the tolerance, 0.0001." in message
    manifest = json.loads((home / "squares.segan" / "manifest.json").read_text())
    assert [record["backend"] for record in manifest["verification"]] == ["cpu"]


def test_a_gpu_that_runs_out_of_memory(
    home: Path, capsys: Capture, put_in: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from segan.runtime.backends.tensorrt import bundle

    put_in("tensorrt")

    def fail(*_: Any, **__: Any) -> None:
        raise BackendError("the GPU does not have enough memory.")

    monkeypatch.setattr(bundle, "obtain", fail)
    assert run(["export", "--trt"]) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert message == f"segan: the GPU does not have enough memory. {KEPT}"
