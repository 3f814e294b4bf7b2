"""Engines built by TensorRT for RTX itself, which needs no GPU for that. They run on none here."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segan.runtime.backends.tensorrt.build import Target, _add_pixels, build_engine
from segan.runtime.backends.tensorrt.library import Library, find_library
from segan.runtime.backends.tensorrt.session import obtain
from segan.runtime.backends.tensorrt.settings import EngineSettings
from segan.runtime.errors import BackendError
from segan.runtime.graphs.check import SafeModel

pytest.importorskip(
    "tensorrt_rtx_bindings", reason="needs tensorrt_rtx_bindings; the bare environment has none"
)

ADA = Target(capabilities=("8.9",))


@pytest.fixture(scope="module")
def library() -> Library:
    found = find_library()
    assert found is not None
    if not found.is_rtx:
        pytest.skip("TensorRT is installed, which builds on a GPU only")
    return found


def _fp16_graph(image_type: str = "float", batch: str | int = "batch") -> bytes:
    """ws, noise → image with fp16 written in: fp32 styles, fp16 features, an fp32 image."""
    onnx = pytest.importorskip("onnx", reason="needs onnx; the bare environment has none")
    np = pytest.importorskip("numpy", reason="needs numpy; the bare environment has none")
    helper, kinds = onnx.helper, onnx.TensorProto
    random = np.random.RandomState(0)
    flat = onnx.numpy_helper.from_array(np.array([-1, 4, 8, 8]), "flat")
    plane = onnx.numpy_helper.from_array(np.array([-1, 1, 8, 8]), "plane")
    affine = onnx.numpy_helper.from_array(random.randn(16, 256).astype(np.float32), "affine")
    weight = onnx.numpy_helper.from_array(random.randn(3, 4, 3, 3).astype(np.float16), "weight")
    kind = kinds.FLOAT if image_type == "float" else kinds.FLOAT16
    nodes = [
        helper.make_node("Flatten", ["ws"], ["w"]),
        helper.make_node("MatMul", ["w", "affine"], ["styles"]),
        helper.make_node("Reshape", ["styles", "flat"], ["x"]),
        helper.make_node("Reshape", ["noise", "plane"], ["n"]),
        helper.make_node("Add", ["x", "n"], ["y"]),
        helper.make_node("Cast", ["y"], ["half"], to=kinds.FLOAT16),
        helper.make_node("Conv", ["half", "weight"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("Cast", ["features"], ["image"], to=kind),
    ]
    graph = helper.make_graph(
        nodes,
        "synthesis",
        [
            helper.make_tensor_value_info("ws", kinds.FLOAT, [batch, 2, 8]),
            helper.make_tensor_value_info("noise", kinds.FLOAT, ["noise_batch", 64]),
        ],
        [helper.make_tensor_value_info("image", kind, [batch, 3, 8, 8])],
        [flat, plane, affine, weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _graphs(bundle: Path) -> dict[str, bytes]:
    names = ("mapping", "offsets", "synthesis")
    if bundle.is_dir():
        return {name: (bundle / f"{name}.onnx").read_bytes() for name in names}
    with zipfile.ZipFile(bundle) as archive:
        return {name: archive.read(f"{name}.onnx") for name in names}


@pytest.mark.parametrize("kind", ["toy_bundle", "toy_bundle_zip", "toy_bundle_plain"])
def test_every_graph_of_every_mode_builds(
    library: Library, kind: str, request: pytest.FixtureRequest
) -> None:
    for name, model in _graphs(request.getfixturevalue(kind)).items():
        built = build_engine(library, model, name=name, target=ADA, settings=EngineSettings())
        assert len(built.plan) > 1000
        for tensor, shapes in built.profile.items():
            assert [shape[0] for shape in shapes] == [1, 1 if tensor == "noise" else 16, 128]
            assert len({shape[1:] for shape in shapes}) == 1
        assert built.timings is None


def test_fp16_written_into_the_graph_builds(library: Library) -> None:
    built = build_engine(
        library,
        _fp16_graph(),
        name="synthesis",
        target=Target(capabilities=("8.6", "8.9", "12.0")),
        settings=EngineSettings(optimum_batch=4, maximum_batch=12, level=2, workspace=1 << 28),
    )
    assert built.profile == {
        "ws": ((1, 2, 8), (4, 2, 8), (12, 2, 8)),
        "noise": ((1, 64), (1, 64), (12, 64)),
    }


@pytest.mark.parametrize("image_type", ["float", "float16"])
def test_pixels_stand_behind_the_image(library: Library, image_type: str) -> None:
    trt = library.module
    builder = trt.Builder(library.log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, library.log)
    assert parser.parse(_fp16_graph(image_type))
    constants: list[Any] = []
    assert _add_pixels(trt, network, constants) == 64
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    assert [(t.name, tuple(t.shape), t.dtype) for t in outputs] == [
        ("image", (-1, 3, 8, 8), trt.float32 if image_type == "float" else trt.float16),
        ("pixels", (-1, 8, 8, 3), trt.uint8),
        ("unfinite", (-1,), trt.float32),
    ]


def test_a_graph_without_an_image_stays_as_it_is(library: Library, toy_bundle: Path) -> None:
    trt = library.module
    builder = trt.Builder(library.log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, library.log)
    assert parser.parse((toy_bundle / "mapping.onnx").read_bytes())
    assert _add_pixels(trt, network, []) is None
    assert network.num_outputs == 1


def test_progress_rises(library: Library, toy_bundle: Path) -> None:
    shares: list[float] = []
    build_engine(
        library,
        (toy_bundle / "synthesis.onnx").read_bytes(),
        name="synthesis",
        target=ADA,
        settings=EngineSettings(),
        on_progress=lambda share, _: shares.append(share),
    )
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert 0.5 < shares[-1] <= 1
    assert len(shares) > 20


def test_interrupting_ends_the_build(library: Library, toy_bundle: Path) -> None:
    def interrupt(_share: float, _phase: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engine(
            library,
            (toy_bundle / "synthesis.onnx").read_bytes(),
            name="synthesis",
            target=ADA,
            settings=EngineSettings(),
            on_progress=interrupt,
        )


def test_a_graph_that_is_none(library: Library, toy_bundle: Path) -> None:
    model = (toy_bundle / "mapping.onnx").read_bytes()

    def build(model: bytes) -> None:
        build_engine(library, model, name="mapping", target=ADA, settings=EngineSettings())

    with pytest.raises(BackendError, match="is not an ONNX model"):
        build(model[:100])
    with pytest.raises(BackendError, match="is not an ONNX model"):
        build(b"")
    assert b"Tanh" in model
    with pytest.raises(BackendError, match="the operator 'NoOp' is not one that segan writes"):
        build(model.replace(b"Tanh", b"NoOp"))
    with pytest.raises(BackendError, match=r"^tensorrt_rtx .* cannot read the mapping graph: "):
        build(SafeModel(model.replace(b"Tanh", b"NoOp")))


def test_a_graph_with_a_fixed_batch(library: Library) -> None:
    model = _fp16_graph(batch=2)
    with pytest.raises(BackendError, match=r"ws has the shape \[2, 2, 8\]; expected a dynamic"):
        build_engine(library, model, name="synthesis", target=ADA, settings=EngineSettings())


def test_a_gpu_that_the_library_has_no_code_for(library: Library, toy_bundle: Path) -> None:
    model = (toy_bundle / "synthesis.onnx").read_bytes()
    turing = Target(capabilities=("7.5",))
    with pytest.raises(BackendError, match=r"cannot build .* compute capability 7\.5: .*Turing"):
        build_engine(library, model, name="synthesis", target=turing, settings=EngineSettings())


def test_capabilities_are_the_librarys_own(library: Library) -> None:
    found = library.capabilities()
    assert {"8.6", "8.9", "12.0"} <= set(found)
    assert all(len(name.split(".")) == 2 for name in found)


def test_engines_and_side_files_of_a_whole_bundle(
    library: Library, toy_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGAN_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "engines"
    models = [(name, "fp32", model) for name, model in _graphs(toy_bundle).items()]
    models.append(("synthesis", "fp16", _fp16_graph()))
    for again in (False, True):
        for name, precision, model in models:
            stored = obtain(
                model,
                name=name,
                precision=precision,
                target=ADA,
                library=library,
                folder=folder,
            )
            assert stored.was_built != again
            assert stored.path is not None
            side = json.loads(stored.path.with_name(f"{stored.path.name}.json").read_text())
            assert side["key"]["onnx_sha256"] == hashlib.sha256(model).hexdigest()
            assert side["key"]["library_version"] == library.version
            assert side["sha256"] == hashlib.sha256(stored.path.read_bytes()).hexdigest()
    assert len(list(folder.iterdir())) == 8


def test_a_bundle_with_several_precisions(
    library: Library,
    toy_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    edit_manifest: Callable[..., None],
    replace_file: Callable[[Path, str, bytes], None],
) -> None:
    from segan.runtime.backends.tensorrt.bundle import build_engines

    monkeypatch.setenv("SEGAN_CACHE", str(tmp_path / "cache"))
    # What types a graph computes in is its own business; its inputs and outputs are the manifest's.
    synthesis = (toy_bundle / "synthesis.onnx").read_bytes()
    replace_file(toy_bundle, "synthesis.fp16.onnx", synthesis)
    replace_file(toy_bundle, "synthesis.int8.onnx", synthesis)
    files = {"fp32": "synthesis.onnx", "fp16": "synthesis.fp16.onnx", "int8": "synthesis.int8.onnx"}
    graphs = {"mapping": "mapping.onnx", "offsets": "offsets.onnx", "synthesis": files}
    edit_manifest(toy_bundle, graphs=graphs)
    found = build_engines(toy_bundle, capabilities=["8.9"])
    assert [(engine.graph, engine.precision) for engine in found] == [
        ("mapping", "fp32"),
        ("offsets", "fp32"),
        ("synthesis", "fp32"),
        ("synthesis", "fp16"),
    ]
    assert len(list((toy_bundle / "engines").glob("*.engine"))) == 4
    assert not any(engine.was_built for engine in build_engines(toy_bundle, capabilities=["8.9"]))
