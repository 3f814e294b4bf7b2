from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segan.runtime import load
from segan.runtime.backends import choose
from segan.runtime.backends.choose import candidates, precisions_of
from segan.runtime.backends.openvino import OpenVinoSession
from segan.runtime.errors import BackendError, ConfigError

TOY = Path(__file__).parents[2] / "data" / "toy.segan"
Works = Callable[..., None]


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> Works:
    """Pretends that these backends work here, and no other."""

    def pretend(*names: str) -> None:
        monkeypatch.setattr(
            choose,
            "why_not",
            lambda name: None if name in names else BackendError(f"{name} is not here."),
        )

    return pretend


def _names(*arguments: Any) -> list[tuple[str, str, str]]:
    return [(c.backend, c.precision, c.graph) for c in candidates(*arguments)]


def test_auto_takes_the_best_that_works_and_says_why_not_the_others(works: Works) -> None:
    works("openvino", "cpu")
    best, last = candidates()
    assert (best.backend, best.precision) == ("openvino", "fp32")
    assert best.passed_over == {"tensorrt": "tensorrt is not here.", "cuda": "cuda is not here."}
    assert last.backend == "cpu"
    works("tensorrt", "cuda", "openvino", "cpu")
    assert [choice.backend for choice in candidates()] == ["tensorrt", "cuda", "openvino", "cpu"]
    assert candidates()[0].passed_over == {}


def test_a_gpu_computes_fp16_where_the_bundle_has_it_and_a_processor_fp32(works: Works) -> None:
    works("tensorrt", "cuda", "openvino", "cpu")
    assert _names("auto", "auto", ("fp32",)) == [
        (name, "fp32", "fp32") for name in ("tensorrt", "cuda", "openvino", "cpu")
    ]
    assert _names("auto", "auto", ("fp32", "fp16", "bf16", "int8")) == [
        ("tensorrt", "fp16", "fp16"),
        ("cuda", "fp16", "fp16"),
        ("openvino", "fp32", "fp32"),
        ("cpu", "fp32", "fp32"),
    ]


def test_a_precision_that_is_asked_for_decides_which_backends_there_are(works: Works) -> None:
    works("tensorrt", "cuda", "openvino", "cpu")
    # OpenVINO computes the fp32 graph in bf16; TensorRT needs one of its own.
    assert _names("auto", "bf16", ("fp32",)) == [("openvino", "bf16", "fp32")]
    assert _names("auto", "bf16", ("fp32", "bf16"))[0] == ("tensorrt", "bf16", "bf16")
    assert _names("auto", "int8", ("fp32", "int8")) == [
        ("openvino", "int8", "int8"),
        ("cpu", "int8", "int8"),
    ]
    assert precisions_of("openvino", ("fp32",)) == ("fp32", "bf16")
    assert precisions_of("cpu", ("fp32", "fp16")) == ("fp32", "fp16")


@pytest.mark.parametrize(
    ("arguments", "data"),
    [
        (("gpu",), {"field": "backend", "value": "gpu"}),
        (("openvno",), {"field": "backend", "remedy": "Did you mean 'openvino'?"}),
        (
            ("cpu", "fp8"),
            {
                "field": "precision",
                "value": "fp8",
                "expected": "one of auto, fp32, fp16, bf16, int8",
            },
        ),
        (("cpu", "bf16"), {"field": "precision", "expected": "one of auto, fp32, fp16, int8"}),
        (("cpu", "fp16"), {"field": "precision", "remedy": "segan export --fp16"}),
        (("auto", "int8"), {"problem": "no backend computes int8", "field": "precision"}),
    ],
)
def test_wrong_use(
    works: Works, raises_error: Callable[..., Any], arguments: tuple[str, ...], data: dict[str, str]
) -> None:
    works("cpu")
    with raises_error(ConfigError, **data):
        candidates(*arguments)


def test_a_backend_that_is_named_is_taken_or_refused_and_never_replaced(works: Works) -> None:
    works("cpu")
    with pytest.raises(BackendError, match=r"openvino is not here\."):
        candidates("openvino")
    with pytest.raises(BackendError, match="no backend works here"):
        candidates("auto", "bf16")


def test_auto_goes_on_when_the_better_one_cannot_load(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    works("openvino", "cpu")

    def broken(self: object, *_: object, **__: object) -> None:
        raise BackendError("its library is torn")

    monkeypatch.setattr(OpenVinoSession, "__init__", broken)
    with load(TOY) as generator:
        assert generator.backend == "cpu"
        assert "its library is torn" in generator.passed_over["openvino"]
        assert generator.passed_over["cuda"] == "cuda is not here."
    with pytest.raises(BackendError, match="its library is torn"):
        load(TOY, "openvino")
