"""The int8 synthesis graph: convolutions on 8-bit numbers, found by post-training quantisation.

The large convolutions, 3 × 3 and the upsampling filters, take int8 activations and weights; each
weight's output channel and each activation has a scale. What lies between them, to_rgb and the sum
of the layers' images stay floating point.

An activation x · s has one scale for all its channels, so a channel that is much larger than the
others leaves those few levels. Scales of channels are free: the styles' affine divides channel i by
k_i, the weights take k_i. With a_i the largest |x_i s_i| and v_i the largest weight of channel i,
k_i = √(a_i / v_i) leaves both equally uneven (Xiao et al. 2023, SmoothQuant, α = 0.5). Between a
transposed convolution and its filter the same is done with the filter's weights. Styles are divided
by their largest in each image, as in ``segan.export.graphs.stylegan2.half``, so that an image with
large styles does not set the scale of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from segan.export.graphs.stylegan2.graphs import SynthesisGraph
from segan.export.graphs.stylegan2.half import HalfConvolutionSite, parts_of
from segan.export.graphs.stylegan2.lowering import Lowering, TransposedConvolution
from segan.runtime.backends.choose import open_session
from segan.runtime.backends.session import SessionConfig
from segan.train.networks.stylegan2.generator import Generator

Array = NDArray[np.float32]

#: What scales leave above the largest magnitude that calibration saw: what lies beyond is cut off,
#: and shifts the brightness of the rare image that reaches it, which is worse than coarser steps.
_HEADROOM = 1.2

#: Names of added outputs.
_MAXIMA = "channel_maxima/"

_OPERATORS = ("Conv", "ConvTranspose")


@dataclass(frozen=True, kw_only=True)
class Int8Draft:
    """A graph that is ready to be quantised from any resolution on.

    Attributes:
        model: the balanced graph in fp32, serialized.
        largest: the largest magnitude that calibration saw, by tensor.
        nodes: the convolutions that may be quantised, with the resolution of their site.
    """

    model: bytes
    largest: dict[str, float]
    nodes: dict[str, int]

    def resolutions(self) -> list[int]:
        """Where quantisation may begin, lowest first: later ones leave more in floating point."""
        return sorted(set(self.nodes.values()))

    def quantize(self, lowest: int) -> bytes:
        """The graph with the convolutions of the sites from ``lowest`` on in int8."""
        from onnxruntime.quantization import CalibrationMethod, QuantType
        from onnxruntime.quantization.calibrate import TensorsData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        chosen = [name for name, resolution in self.nodes.items() if resolution >= lowest]
        ranges = {
            name: (np.float32(-_HEADROOM * value), np.float32(_HEADROOM * value))
            for name, value in self.largest.items()
        }
        quantizer = QDQQuantizer(
            onnx.load_from_string(self.model),
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
            nodes_to_quantize=chosen,
            nodes_to_exclude=[],
            op_types_to_quantize=list(_OPERATORS),
            extra_options={
                "ActivationSymmetric": True,
                # What a convolution gives is demodulated in floating point first.
                "OpTypesToExcludeOutputQuantization": list(_OPERATORS),
            },
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
        model = quantizer.model.model
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))


def draft_int8(
    generator: Generator,
    lowering: Mapping[str, Lowering],
    export: Callable[[SynthesisGraph], bytes],
    calibration: Iterable[Mapping[str, Array]],
) -> Int8Draft:
    """Balances and calibrates.

    Args:
        generator: on the CPU, float32, in evaluation mode.
        lowering: form of each upsampling site, by name.
        export: turns a module into a serialized graph, and uses it up.
        calibration: inputs of the synthesis graph, batch by batch; read twice.

    Raises:
        ExportError: the graph cannot be written.
        BackendError: it cannot be run.
    """
    batches = list(calibration)
    parts = parts_of(torch.float32)
    plain = export(SynthesisGraph(generator, lowering, parts))
    before = _channel_maxima(plain, batches)
    del plain
    module = SynthesisGraph(generator, lowering, parts)
    _balance(module, before)
    model = export(module)
    maxima = _channel_maxima(model, batches)
    inputs = {node.name: node.input[0] for node in _convolutions(onnx.load_from_string(model))}
    nodes = {name: _resolution(name) for name in maxima if _is_site(name)}
    return Int8Draft(
        model=model,
        largest={inputs[name]: max(float(maxima[name].max()), 1e-6) for name in nodes},
        nodes=nodes,
    )


def _convolutions(model: Any) -> list[Any]:
    return [node for node in model.graph.node if node.op_type in _OPERATORS]


def _site(node: str) -> str:
    """``b64.conv0.convolution/ConvTranspose`` → ``b64.conv0``."""
    return ".".join(node.partition("/")[0].split(".")[:2])


def _resolution(node: str) -> int:
    return int(node.partition(".")[0][1:])


def _is_site(node: str) -> bool:
    return _site(node).partition(".")[2] in ("conv0", "conv1")


def _channel_maxima(model: bytes, batches: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """The largest magnitude of each channel of each convolution's input, [I], by node."""
    measured = onnx.load_from_string(model)
    axes = onnx.numpy_helper.from_array(np.array([0, 2, 3], np.int64), f"{_MAXIMA}axes")
    measured.graph.initializer.append(axes)
    nodes = _convolutions(measured)
    for node in nodes:
        name = f"{_MAXIMA}{node.name}"
        measured.graph.node.append(
            onnx.helper.make_node("Abs", [node.input[0]], [f"{name}/abs"], name=f"{name}/Abs")
        )
        measured.graph.node.append(
            onnx.helper.make_node(
                # One row, as every output has a batch dimension.
                "ReduceMax",
                [f"{name}/abs", axes.name],
                [name],
                name=name,
                keepdims=1,
            )
        )
        measured.graph.output.append(
            onnx.helper.make_tensor_value_info(
                name, onnx.TensorProto.FLOAT, ["batch", "channels", 1, 1]
            )
        )
    found: dict[str, Array] = {}
    # One image at a time: then an output's one row is what the session expects of a batch of 1.
    session = open_session(
        measured.SerializeToString(),
        "cpu",
        name="calibration",
        config=SessionConfig(low_memory=True),
    )
    with session:
        for batch in batches:
            for row in range(len(batch["ws"])):
                one = {
                    name: value if len(value) == 1 else value[row : row + 1]
                    for name, value in batch.items()
                }
                results = session.run(one)
                for node in nodes:
                    maxima = results[f"{_MAXIMA}{node.name}"].reshape(-1)
                    found[node.name] = np.maximum(found.get(node.name, 0.0), maxima)
    return found


def _balance(module: SynthesisGraph, maxima: Mapping[str, Array]) -> None:
    """Moves scales of channels between activations and weights, in place."""
    for name, site in module.named_modules():
        if not isinstance(site, HalfConvolutionSite):
            continue
        up = site.convolution
        if isinstance(up, TransposedConvolution):
            weight, axis = up.weight, 0
            between = _geometric(torch.from_numpy(maxima[f"{name}.convolution/Conv"]).double())
            up.weight = up.weight / between[None, :, None, None]
            up.fir = up.fir * between[:, None, None, None]
            weight = up.weight
            entry = f"{name}.convolution/ConvTranspose"
        elif up is None:
            weight, axis, entry = site.weight, 1, f"{name}/Conv"
        else:
            # The other forms have their convolution as the first operator, channels second.
            weight, axis, entry = up.get_buffer("weight"), 1, f"{name}.convolution/Conv"
        others = [dim for dim in range(4) if dim != axis]
        activation = torch.from_numpy(maxima[entry]).double()
        factor = _geometric((activation / _nonzero(weight.double().abs().amax(others))).sqrt())
        shape = [1, 1, 1, 1]
        shape[axis] = -1
        scaled = (weight.double() * factor.view(shape)).to(weight.dtype)
        if up is None:
            site.weight = scaled
        else:
            up.register_buffer("weight", scaled)
        site.affine.weight = (site.affine.weight.double() / factor[:, None]).to(weight.dtype)
        site.affine.bias = (site.affine.bias.double() / factor).to(weight.dtype)
        site.power = (site.power.double() * factor.square()).to(weight.dtype)


def _nonzero(value: torch.Tensor) -> torch.Tensor:
    return torch.where(value > 0, value, torch.ones_like(value))


def _geometric(value: torch.Tensor) -> torch.Tensor:
    """The values over their geometric mean; 1 in place of zeros. In float64."""
    value = _nonzero(value)
    return value / value.log().mean().exp()
