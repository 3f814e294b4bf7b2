from __future__ import annotations

import importlib.util
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segan.cli import benchmark
from segan.runtime.errors import BackendError

Segan = Callable[..., subprocess.CompletedProcess[str]]

#: The shortest measurement of one backend that is always there.
QUICK = ("--backends", "cpu", "--seconds", "0.01", "--rounds", "1", "--threads", "1")


def _record(**fields: Any) -> dict[str, Any]:
    """What benchmark_record gives, with figures made up."""
    row = {
        "backend": "cpu",
        "precision": "fp32",
        "batch": 1,
        "images_per_s": 86.2,
        "slowest": 80.0,
        "fastest": 90.0,
        "p50_ms": 11.8,
        "p99_ms": 15.1,
        "timed_batches": 9,
        "callers": 1,
        "of_ceiling": 0.862,
        "bound_images_per_s": 100.0,
        "max_error": 0.0,
        "psnr_db": 200.0,
        "max_error_uint8": 0,
        "load_s": 0.31,
        "first_batch_ms": 20.0,
        "peak_mib": 284.0,
        "device_mib": None,
        "file_mib": 6.1,
    }
    fast = row | {
        "backend": "openvino",
        "precision": "bf16",
        "images_per_s": 190.0,
        "slowest": 185.0,
        "fastest": 1234.5,
        "max_error": 0.0753,
        "psnr_db": 42.44,
        "of_ceiling": None,
        "bound_images_per_s": None,
    }
    record = {
        "machine": {
            "processor": "Some CPU",
            "cores": 2,
            "threads_used": 2,
            "gpu": [],
            "load_1min": 0.1,
            "copy_gb_per_s": 12.3,
            "device_copy_gb_per_s": None,
            "ceilings": [
                {"backend": "cpu", "precision": "fp32", "gflop_per_s": 200.0, "problem": None},
                {
                    "backend": "openvino",
                    "precision": "bf16",
                    "gflop_per_s": None,
                    "problem": "it broke",
                },
            ],
        },
        "bundle": {"name": "faces", "resolution": 64, "gmac_per_image": 1.007},
        "settings": {"batches": [1], "seconds": 2.0, "rounds": 5},
        "reference": {"problem": None},
        "rows": [row, fast],
        "not_run": [
            {"backend": "tensorrt", "precision": "fp16", "batches": [1], "problem": "no driver"},
            {"backend": "cuda", "precision": "fp32", "batches": [1], "problem": "no driver"},
        ],
    }
    return record | fields


def test_json_has_the_promised_fields(segan: Segan, toy_bundle: Path, tmp_path: Path) -> None:
    done = segan("benchmark", toy_bundle, *QUICK, "--batches", "2", "--json", "-o", "speed.json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert json.loads((tmp_path / "speed.json").read_text()) == record
    (row,) = record["rows"]
    assert (row["backend"], row["precision"], row["batch"]) == ("cpu", "fp32", 2)
    assert {"images_per_s", "p50_ms", "p99_ms", "max_error"} <= row.keys()
    assert row["max_error"] < 1e-5
    assert {"processor", "cores", "threads", "memory_mib", "gpu", "versions", "ceilings"} <= (
        record["machine"].keys()
    )
    assert {entry["precision"] for entry in record["not_run"]} == {"fp16", "int8"}
    assert "measuring: " in done.stderr


def test_the_table_is_for_people(segan: Segan, toy_bundle: Path) -> None:
    done = segan("benchmark", *QUICK, "--batches", "1")
    assert done.returncode == 0, done.stderr
    assert "bundle: toy.segan" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("toy, 16²; rounds: 1 of 0.01 s")
    (heading,) = (line for line in lines if line.startswith("backend"))
    (row,) = (line for line in lines if line.split()[:2] == ["cpu", "fp32"])
    assert len(row) <= len(heading)
    assert row.split()[2] == "1"
    assert "  cpu int8: the bundle has no int8 graph (it has fp32)." in done.stdout


def test_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    benchmark._show(_record())
    shown = capsys.readouterr().out
    assert "faces, 64², 1.01 GMAC an image; rounds: 5 of 2 s, taking turns" in shown
    assert "Some CPU, 2 of 2 cores; load before the start 0.1" in shown
    assert "ceilings: cpu fp32 200 GFLOP/s, copy 12.3 GB/s" in shown
    assert "no ceiling for openvino bf16: it broke" in shown
    rows = [line.split() for line in shown.splitlines() if line.startswith(("cpu", "openvino"))]
    assert rows[0][:8] == ["cpu", "fp32", "1", "86.2", "80-90", "11.8", "15.1", "86%"]
    assert rows[0][8:] == ["0", "same", "0.31", "284", "6.1"]
    assert rows[1][3:10] == ["190", "185-1234", "11.8", "15.1", "-", "7.5e-02", "42.4"]
    # One line a reason.
    assert "  tensorrt fp16; cuda fp32: no driver" in shown
    benchmark._show(_record(reference={"problem": "no cpu"}))
    assert "the reference cannot be computed: no cpu" in capsys.readouterr().out


def test_nothing_that_runs_is_a_failure(
    segan_here: Segan, toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segan.runtime.backends import choose

    monkeypatch.setattr(choose, "why_not", lambda backend: BackendError(f"no {backend} here"))
    done = segan_here("benchmark", toy_bundle, "--backends", "cpu", "--json")
    assert done.returncode == 1
    record = json.loads(done.stdout)
    assert record["rows"] == []
    assert record["not_run"][0]["problem"] == "no cpu here."
    assert "nothing could be measured" in done.stderr
    done = segan_here("benchmark", toy_bundle, "--backends", "cpu")
    assert done.returncode == 1
    assert "no cpu here" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backends", "cpu,openvin"], "--backends is 'openvin'; expected one of auto"),
        (["--backends", ","], "--backends is ','; expected names separated by commas"),
        (["--precisions", "fp61"], "expected one of"),
        (["--precisions", "fp16"], "segan export --fp16"),
        (["--backends", "cpu", "--precisions", "bf16"], "does not support"),
        (["--batches", "0"], "--batches contains the size 0; expected 1 to"),
        (["--batches", "1,many"], "expected sizes of 1 or more, such as 1,16"),
        (["--batches", ""], "expected sizes of 1 or more, such as 1,16"),
        (["--batches", "99999999999999"], "expected sizes of 1 or more"),
        (["--batches", "5000"], "--batches contains the size 5000; expected 1 to 4096"),
        (["--seconds", "-1"], "--seconds is -1"),
        (["--rounds", "0"], "--rounds is 0"),
        (["--threads", "0"], "--threads is 0"),
        (
            ["--plot", "speed.bmp"],
            "--plot is speed.bmp; expected a name that ends in .png, .pdf, .svg",
        ),
    ],
)
def test_wrong_use_says_what_was_expected(
    arguments: list[str], message: str, segan_here: Segan, toy_bundle: Path
) -> None:
    done = segan_here("benchmark", toy_bundle, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) <= 2


def test_a_missing_bundle_is_said(segan_here: Segan) -> None:
    done = segan_here("benchmark", "none.segan")
    assert done.returncode == 1
    assert "none.segan" in done.stderr


def test_a_plot_without_matplotlib_says_what_to_install_before_measuring(
    segan_here: Segan, toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    done = segan_here("benchmark", toy_bundle, "--plot", "speed.png")
    assert done.returncode == 1
    assert "pip install matplotlib" in done.stderr
    assert "measuring" not in done.stderr
