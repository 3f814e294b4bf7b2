"""Half-precision graphs: exact algebra, uneven weights, and what verification detects."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from segan.export import ExportConfig, export_bundle
from segan.export.graphs.lowering import LOWERINGS
from segan.export.graphs.stylegan2.graphs import SynthesisGraph
from segan.export.graphs.stylegan2.half import (
    ACTIVATION_BOUND,
    DTYPES,
    KERNEL_SUM,
    balance,
    parts_of,
)
from segan.export.precisions import add as reduced
from segan.export.precisions.rounding import with_explicit_rounding
from segan.export.precisions.verify import EMULATED, LIMITS, reduced_seed_count
from segan.export.to_onnx import to_onnx
from segan.runtime.backends.choose import open_session
from segan.runtime.bundle.manifest import decode_manifest, encode_manifest
from segan.runtime.bundle.reader import open_bundle
from segan.runtime.errors import ConfigError, VerifyError
from segan.runtime.generate.generator import load
from segan.train.networks.stylegan2.generator import Generator, SynthesisSite

if TYPE_CHECKING:
    from tests.conftest import RaisesError

Make = Callable[..., Generator]
Array = NDArray[Any]


def psnr(found: Array, expected: Array) -> float:
    """PSNR in dB, peak to peak 2; minus infinity where values are not finite."""
    if not np.isfinite(found).all():
        return -np.inf
    mse = np.mean((found.astype(np.float64) - expected) ** 2)
    return float(10 * np.log10(4 / max(float(mse), 1e-30)))


def forms(generator: Generator, form: str = "transposed") -> Any:
    return {site.name: form for site in generator.network.sites if site.kind == "up"}


def layers(generator: Generator, n: int = 3, reach: float = 1.7) -> dict[str, Any]:
    """Inputs of the synthesis network with its type, coordinates from -reach to reach."""
    random = torch.Generator().manual_seed(1)
    dtype = generator.w_avg.dtype

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random, dtype=dtype)

    network = generator.network
    labels = torch.eye(network.c_dim, dtype=dtype)[[0] * n] if network.c_dim else None
    w = generator.broadcast(generator.mapping(draw(n, network.z_dim), labels))
    coords = torch.rand(n, *generator.coords_shape, generator=random, dtype=dtype) * 2 - 1
    ws, shifts = generator.offsets(w, coords * reach if generator.table else None)
    return {"ws": ws, "shifts": shifts, "noise": draw(n, generator.synthesis.num_noise)}


def tamed(generator: Generator) -> Generator:
    """Scales the images of a random generator to a standard deviation of 0.5, as trained ones."""
    given = layers(generator)
    with torch.no_grad():
        factor = 0.5 / generator.synthesis(**given).std()
        for block in generator.synthesis.block_list():
            if block.to_rgb is not None:
                block.to_rgb.weight.mul_(factor)
                block.to_rgb.bias.mul_(factor)
    return generator


SUBSPACES = [
    {"mode": mode, "kind": kind, "placement": placement}
    for mode, kind, placement in itertools.product(
        range(4), ["eigen", "diagonal"], ["first", "all"]
    )
    if (mode, kind) != (0, "diagonal")
]


@pytest.mark.parametrize("form", LOWERINGS)
@pytest.mark.parametrize("architecture", ["skip", "residual", "original"])
@pytest.mark.parametrize("subspace", SUBSPACES, ids=lambda s: "-".join(map(str, s.values())))
def test_in_float64_nothing_changes(
    make_generator: Make, subspace: dict[str, Any], architecture: str, form: str
) -> None:
    generator = make_generator(architecture=architecture, resolution=16, **subspace).double()
    given = layers(generator)
    graph = SynthesisGraph(generator, forms(generator, form), parts_of(torch.float64))
    expected = generator.synthesis(**given)
    assert (graph(**given) - expected).abs().max().item() <= 1e-10 * expected.abs().max().item()


@pytest.mark.parametrize("scale", [1e4, 1.0, 1e-4, 1e-7, 0.0])
def test_the_demodulation_keeps_its_epsilon(make_generator: Make, scale: float) -> None:
    """With small styles ε dominates, so it must be scaled like the rest."""
    generator = make_generator(resolution=16).double()
    for block in generator.synthesis.block_list():
        for _, site in block.site_modules():
            site.affine.weight.mul_(scale)
            site.affine.bias.mul_(scale)
    given = layers(generator)
    graph = SynthesisGraph(generator, forms(generator), parts_of(torch.float64))
    difference = graph(**given) - generator.synthesis(**given)
    assert difference.abs().max().item() <= 1e-10


def test_an_imported_clamp_stays(make_generator: Make) -> None:
    generator = make_generator(resolution=16, architecture="residual").double()
    for block in generator.synthesis.block_list():
        for _, site in block.site_modules():
            site.clamp = 0.6
    given = layers(generator)
    graph = SynthesisGraph(generator, forms(generator), parts_of(torch.float64))
    expected = generator.synthesis(**given)
    assert (graph(**given) - expected).abs().max().item() <= 1e-10
    for block in generator.synthesis.block_list():
        for _, site in block.site_modules():
            site.clamp = None
    assert (generator.synthesis(**given) - expected).abs().max().item() > 0.1


def test_balance() -> None:
    random = np.random.RandomState(0)
    weight = random.standard_normal((6, 5, 3, 3))
    weight *= 10.0 ** random.uniform(-6, 6, (6, 1, 1, 1)) * 10.0 ** random.uniform(-6, 6, (5, 1, 1))
    weight[2], weight[:, 3] = 0, 0
    split = balance(torch.from_numpy(weight))
    even, rows, columns = (value.numpy() for value in (split.even, split.rows, split.columns))
    np.testing.assert_allclose(even * rows[:, None, None, None] * columns[:, None, None], weight)
    sums = np.abs(even).sum((1, 2, 3))
    np.testing.assert_allclose(np.delete(sums, 2), KERNEL_SUM)
    assert sums[2] == 0
    # No channel other than the zero one is flushed to 0 in fp16.
    peaks = np.delete(np.abs(even).max((0, 2, 3)), 3)
    assert peaks.min() > 0.1
    # No convolution can overflow, for any input.
    assert np.finfo(np.float16).max > KERNEL_SUM * ACTIVATION_BOUND


def hostile(generator: Generator, case: str) -> None:
    """Makes weights that fail with a plain cast to fp16; most cases keep the function."""
    random = torch.Generator().manual_seed(2)
    for block in generator.synthesis.block_list():
        for _, site in block.site_modules():
            affine, weight = site.affine, site.weight
            demodulated = isinstance(site, SynthesisSite)
            out, into = weight.shape[:2]

            def spread(n: int) -> torch.Tensor:
                return 10 ** (torch.rand(n, generator=random) * 8 - 4)

            if case == "rows" and demodulated:
                weight.mul_(spread(out)[:, None, None, None])
            elif case == "columns":
                factor = spread(into)
                weight.mul_(factor[:, None, None])
                affine.weight.div_(factor[:, None])
                affine.bias.div_(factor)
            elif case == "large weights" and demodulated:
                weight.mul_(1e4)
            elif case == "small weights":
                weight.mul_(1e-4)
                affine.weight.mul_(1e4)
                affine.bias.mul_(1e4)
            elif case == "large styles" and demodulated:
                affine.weight.mul_(1e4)
                affine.bias.mul_(1e4)
            elif case == "small styles" and demodulated:
                affine.weight.mul_(1e-4)
                affine.bias.mul_(1e-4)
            elif case == "one large affine" and demodulated:
                affine.weight[1].mul_(1e4)
                affine.bias[1].mul_(1e4)
            elif case == "one large style bias" and demodulated:
                affine.bias[1] = 5e3
            elif case == "one large weight" and demodulated:
                weight[1].mul_(1e4)
                weight[0, 2].mul_(1e3)
        if case == "const" and block.is_first:
            block.const.mul_(1e-5)
            block.const[1].mul_(5e6)


#: Cases in which a plain cast gives a wrong image.
BROKEN = [
    "rows",
    "columns",
    "large weights",
    "small weights",
    "large styles",
    "small styles",
    "one large affine",
    "one large style bias",
]

#: Widths of 64² paper and of the widest layers of 1024², at low resolutions for speed.
WIDTHS = {
    "64": {"resolution": 32, "w_dim": 128, "channel_max": 128},
    "1024": {"resolution": 8, "w_dim": 512, "channel_base": 32768, "channel_max": 512},
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("case", [*BROKEN, "one large weight", "const"])
def test_hostile_weights(make_generator: Make, case: str, width: str) -> None:
    generator = make_generator(z_dim=16, mode=2, **WIDTHS[width])
    hostile(generator, case)
    generator = tamed(generator)
    given = layers(generator)
    expected = generator.synthesis(**given).numpy()
    assert 0.4 < expected.std() < 0.6
    # Compared with float64 too, to exclude errors of fp32.
    exact = make_exact(generator, given)
    assert psnr(expected, exact) > 90
    found = run_torch(generator, given, "fp16")
    assert psnr(found, exact) >= 45
    assert np.abs((found - exact).mean((2, 3))).max() < 1 / 127.5
    assert psnr(run_torch(generator, given, "bf16"), exact) >= 35
    if (case, width) == ("columns", "64"):
        found = run_rounded(generator, given, "fp16")
        assert psnr(found, exact) >= 45
    if case in BROKEN:
        plain = SynthesisGraph(generator, forms(generator)).half()
        cast = {name: None if value is None else value.half() for name, value in given.items()}
        assert psnr(plain(**cast).float().numpy(), exact) < 30


def make_exact(generator: Generator, given: dict[str, Any]) -> Array:
    """The images in float64 for the same ws."""
    more = {name: None if value is None else value.double() for name, value in given.items()}
    try:
        image: Array = generator.double().synthesis(**more).numpy()
    finally:
        generator.float()
    return image


def run_rounded(generator: Generator, given: dict[str, Any], precision: Any) -> Array:
    """The half-precision graph on ONNX Runtime, each result rounded."""
    model = written(generator, given, precision)
    feeds = {name: value.numpy() for name, value in given.items() if value is not None}
    with open_session(with_explicit_rounding(model), "cpu", name=precision) as session:
        found: Array = session.run(feeds)["image"]
    return found


def run_torch(generator: Generator, given: dict[str, Any], precision: Any) -> Array:
    """The half-precision modules in PyTorch, which rounds after each operator too."""
    module = SynthesisGraph(generator, forms(generator), parts_of(DTYPES[precision]))
    for child in module.modules():
        for name, value in child.named_buffers(recurse=False):
            if value.dtype == torch.float64:
                setattr(child, name, value.float())
    found: Array = module(**given).numpy()
    return found


def written(generator: Generator, given: dict[str, Any], precision: Any) -> bytes:
    inputs = {name: value[:2] for name, value in given.items() if value is not None}
    inputs["noise"] = inputs["noise"][:1]
    parts = parts_of(DTYPES[precision])
    graph = SynthesisGraph(generator, forms(generator), parts)
    return to_onnx(graph, inputs, ["image"], own_batch={"noise": "noise_batch"})


@pytest.mark.parametrize("precision", DTYPES)
def test_the_graph(make_generator: Make, precision: str) -> None:
    generator = make_generator(resolution=32, w_dim=64, channel_max=64)
    given = layers(generator)
    model = onnx.load_from_string(written(generator, given, precision))
    onnx.checker.check_model(model, full_check=True)
    half = TensorProto.FLOAT16 if precision == "fp16" else TensorProto.BFLOAT16
    (opset,) = model.opset_import
    assert (opset.domain, opset.version) == ("", 18 if precision == "fp16" else 22)
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    image = [node for node in model.graph.node if node.name.startswith("b8.upsample")]
    assert image
    for node in model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            expected = TensorProto.FLOAT if "upsample" in node.name else half
            assert types[node.input[1]] == expected, node.name
        elif node.op_type in ("Gemm", "Sqrt", "Reciprocal"):
            # Affines and demodulation.
            assert types.get(node.input[-1], TensorProto.FLOAT) == TensorProto.FLOAT


def test_half_the_size(make_generator: Make) -> None:
    generator = make_generator(resolution=16, w_dim=128, channel_max=128)
    given = layers(generator)
    inputs = {"ws": given["ws"], "noise": given["noise"][:1]}
    full = to_onnx(SynthesisGraph(generator, forms(generator)), inputs, ["image"])
    assert len(written(generator, given, "fp16")) < 0.62 * len(full)


@pytest.mark.parametrize("precision", DTYPES)
def test_rounding_is_what_torch_rounds(make_generator: Make, precision: str) -> None:
    """Two implementations of the same rounding have similar errors."""
    generator = tamed(make_generator(resolution=16, w_dim=32, channel_max=32, mode=1))
    given = layers(generator)
    expected = generator.synthesis(**given).numpy()
    found = run_rounded(generator, given, precision)
    other = run_torch(generator, given, precision)
    assert abs(psnr(found, expected) - psnr(other, expected)) < 3


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_rounding_hides_no_overflow(kind: str) -> None:
    """300 · 300 · 2⁻¹⁵: infinite in fp16, 2.75 in fp32, rounded to 8 bits in bf16."""
    half = TensorProto.FLOAT16 if kind == "fp16" else TensorProto.BFLOAT16
    tensors = [
        helper.make_tensor("w", half, [1, 1, 1, 1], [300.0]),
        helper.make_tensor("d", half, [1], [2.0**-15]),
    ]
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=half),
        helper.make_node("Conv", ["a", "w"], ["b"]),
        helper.make_node("Mul", ["b", "d"], ["c"]),
        helper.make_node("Cast", ["c"], ["y"], to=TensorProto.FLOAT),
    ]
    shape: list[str | int | None] = ["n", 1, 2, 2]
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        tensors,
    )
    opset = helper.make_opsetid("", 18 if kind == "fp16" else 22)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    rounded = with_explicit_rounding(model.SerializeToString())
    with open_session(rounded, "cpu", name="one") as session:
        found = session.run({"x": np.full((1, 1, 2, 2), 300, np.float32)})["y"]
    exact = torch.tensor(300.0, dtype=torch.bfloat16) ** 2 * 2.0**-15
    assert np.all(found == (np.inf if kind == "fp16" else exact.item()))


def small(make_generator: Make, **settings: Any) -> Generator:
    return tamed(make_generator(w_dim=16, channel_max=16, **settings))


CASES: list[dict[str, Any]] = [
    {"mode": 0, "architecture": "skip", "c_dim": 2, "form": "folded"},
    {"mode": 1, "kind": "eigen", "architecture": "residual", "form": "subpixel"},
    {"mode": 1, "kind": "diagonal", "architecture": "skip", "img_channels": 1},
    {"mode": 2, "kind": "eigen", "architecture": "original", "img_channels": 4},
    {"mode": 3, "kind": "diagonal", "architecture": "residual", "img_channels": 2},
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.values())))
def test_export(make_generator: Make, tmp_path: Path, case: dict[str, Any]) -> None:
    settings = dict(case)
    form = settings.pop("form", None)
    generator = small(make_generator, **settings)
    config = ExportConfig(lowering=form, precisions=("fp16",), batch_sizes=(1,))
    result = export_bundle(generator, tmp_path / "one.segan", config)
    manifest = open_bundle(result.path).manifest
    open_bundle(result.path).verify()
    assert manifest.graphs.synthesis == {"fp32": "synthesis.onnx", "fp16": "synthesis.fp16.onnx"}
    assert manifest.provenance["half_precision"] == {"activation_bound": ACTIVATION_BOUND}
    first, *records = manifest.verification
    assert (first.precision, first.min_psnr_db) == ("fp32", None)
    assert [(row.backend, row.precision) for row in records] == [
        ("cpu", "fp16"),
        (EMULATED, "fp16"),
    ]
    for row in records:
        assert row.min_psnr_db == 45
        assert row.psnr_db >= 45
        assert row.worst_psnr_db is not None
        assert 35 <= row.worst_psnr_db <= row.psnr_db
        assert len(set(row.seeds)) == 64
        assert len(row.cases) == 3
        assert max(row.cases.values()) == row.max_error <= row.tolerance
    with load(result.path, "cpu", precision="fp16") as half, load(result.path, "cpu") as full:
        assert half.precision == "fp16"
        assert full.precision == "fp32"
        label = 1 if generator.network.c_dim else None
        given: dict[str, Any] = {"class_index": label, "noise": "random"}
        # A batch size that was not verified; the two precisions agree to a few grey levels.
        one, two = half.generate(range(5), **given), full.generate(range(5), **given)
        assert np.abs(one.astype(int) - two).max() <= 6
        assert np.abs(one.astype(float).mean((1, 2)) - two.mean((1, 2))).max() < 0.5


def test_export_bf16(make_generator: Make, tmp_path: Path) -> None:
    config = ExportConfig(precisions=("bf16",), batch_sizes=(1,))
    result = export_bundle(small(make_generator), tmp_path / "one.segan", config)
    assert [*result.manifest.graphs.synthesis] == ["fp32", "bf16"]
    # TensorRT has no transposed bf16 convolution.
    model = onnx.load_from_string(open_bundle(result.path).read("synthesis.bf16.onnx"))
    halves = {t.name for t in model.graph.initializer if t.data_type == TensorProto.BFLOAT16}
    transposed = [node for node in model.graph.node if node.op_type == "ConvTranspose"]
    assert not any(node.input[1] in halves for node in transposed)
    (record,) = result.manifest.verification[1:]
    assert (record.backend, record.precision) == (EMULATED, "bf16")
    assert record.psnr_db >= LIMITS["bf16"].psnr_db


def test_records_without_the_new_fields(make_generator: Make, tmp_path: Path) -> None:
    """An fp32 bundle's manifest has no fields of reduced precision, for older readers."""
    result = export_bundle(make_generator(), tmp_path / "one.segan")
    (found,) = json.loads(encode_manifest(result.manifest))["verification"]
    assert "min_psnr_db" not in found
    assert decode_manifest(encode_manifest(result.manifest)) == result.manifest


Spoil = Callable[[onnx.ModelProto], None]


def scale(name: str, factor: float, add: float = 0.0) -> Spoil:
    def change(model: onnx.ModelProto) -> None:
        (tensor,) = [entry for entry in model.graph.initializer if entry.name == name]
        array = numpy_helper.to_array(tensor)
        changed = (array * factor + add).astype(array.dtype)
        tensor.CopyFrom(numpy_helper.from_array(changed, name))

    return change


@pytest.mark.parametrize(
    ("spoil", "fields"),
    [
        (scale("b8.to_rgb.weight", 0.9), {"image_psnr_db"}),
        (scale("b8.to_rgb.bias", 1.0, 0.012), {"shift"}),
        (scale("b8.conv1.bias", np.nan), {"image"}),
        (scale("b8.conv1.bias", 1.0, np.inf), {"image_psnr_db", "error", "image"}),
    ],
)
def test_a_wrong_half_graph_is_noticed(
    make_generator: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Spoil,
    fields: set[str],
    raises_error: RaisesError,
) -> None:
    make = reduced.half_file

    def spoiled(*arguments: Any) -> tuple[str, bytes]:
        name, data = make(*arguments)
        model = onnx.load_from_string(data)
        spoil(model)
        return name, model.SerializeToString()

    monkeypatch.setattr(reduced, "half_file", spoiled)
    config = ExportConfig(precisions=("fp16",), batch_sizes=(1,))
    problem = "the fp16 graph (cpu) is wrong at seed "
    with raises_error(VerifyError, problem=problem, remedy="without `fp16`") as caught:
        export_bundle(small(make_generator), tmp_path / "one.segan", config)
    assert caught.value.field in fields
    if fields == {"shift"}:
        assert caught.value.value == pytest.approx(0.012, abs=0.002)
    assert not any(tmp_path.iterdir())


def test_a_grey_image_where_little_is_seen(
    make_generator: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images of low contrast, where a grey image has a high PSNR."""
    generator = small(make_generator)
    for block in generator.synthesis.block_list():
        assert block.to_rgb is not None
        block.to_rgb.weight.mul_(0.02)
        block.to_rgb.bias.mul_(0.02)
    make = reduced.half_file

    def grey(*arguments: Any) -> tuple[str, bytes]:
        name, data = make(*arguments)
        model = onnx.load_from_string(data)
        for size in (4, 8):
            scale(f"b{size}.to_rgb.weight", 0)(model)
        return name, model.SerializeToString()

    monkeypatch.setattr(reduced, "half_file", grey)
    config = ExportConfig(precisions=("fp16",), batch_sizes=(1,))
    with pytest.raises(VerifyError) as caught:
        export_bundle(generator, tmp_path / "one.segan", config)
    assert caught.value.field in ("deviation", "shift")


@pytest.mark.parametrize("precisions", [("fp8",), ("fp32",), ("fp16", "fp16")])
def test_wrong_precisions(precisions: Any, raises_error: RaisesError) -> None:
    expected = "each of fp16, bf16, int8 at most once"
    with raises_error(ConfigError, field="precisions", value=precisions, expected=expected):
        ExportConfig(precisions=precisions)


def test_seed_counts() -> None:
    counts = {size: reduced_seed_count(size) for size in (8, 64, 128, 256, 512, 1024)}
    assert counts == {8: 64, 64: 64, 128: 32, 256: 16, 512: 8, 1024: 4}
