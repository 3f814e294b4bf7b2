"""The int8 synthesis graph: post-training quantisation of its convolutions.

The large convolutions, 3 × 3 and the upsampling filters, take int8 activations and weights, with
one scale for each output channel of a weight and one for each activation. The operators between
them, to_rgb and the sum of the layers' images stay in floating point.

Before that, scales of channels move between activations and weights
(``GeneratorGraphs.equalize_channels``). Styles are divided by their largest value in each image,
as in the fp16 graph, so that an image with large styles does not set the scale of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn

from segan.export.graphs.family import graphs_of
from segan.export.graphs.lowering import Lowering
from segan.runtime.backends.choose import open_session
from segan.runtime.backends.session import SessionConfig
from segan.train.networks.family import Generator

Array = NDArray[np.float32]

#: Range of an activation over the largest magnitude of calibration. Values beyond the range are
#: clipped, which shifts the brightness of a rare image: that is worse than coarser steps.
_HEADROOM = 1.2

#: Names of added outputs.
_MAXIMA = "channel_maxima/"

_OPERATORS = ("Conv", "ConvTranspose")


@dataclass(frozen=True, kw_only=True)
class Int8Draft:
    """A calibrated graph that can be quantised from any resolution on.

    Attributes:
        model: the graph in fp32 with its channels equalized, serialized.
        largest: the largest magnitude that calibration saw, by tensor.
        nodes: the convolutions that may be quantised, with the resolution of their site.
    """

    model: bytes
    largest: dict[str, float]
    nodes: dict[str, int]

    def resolutions(self) -> list[int]:
        """Return where quantisation may begin, lowest first; high ones leave more in fp32."""
        return sorted(set(self.nodes.values()))

    def quantize(self, lowest: int) -> bytes:
        """Return the graph with the convolutions of the sites from ``lowest`` on in int8."""
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
                # The output of a convolution is demodulated in floating point.
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
    export: Callable[[nn.Module], bytes],
    calibration: Iterable[Mapping[str, Array]],
) -> Int8Draft:
    """Equalize the channels of a synthesis graph, and calibrate it.

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
    graphs = graphs_of(generator)
    plain = export(graphs.synthesis(lowering, "int8"))
    before = _channel_maxima(plain, batches)
    del plain
    module = graphs.synthesis(lowering, "int8")
    graphs.equalize_channels(module, before)
    model = export(module)
    maxima = _channel_maxima(model, batches)
    inputs = {node.name: node.input[0] for node in _convolutions(onnx.load_from_string(model))}
    resolutions = {
        site.name: site.resolution for site in generator.network.sites if site.kind != "rgb"
    }
    nodes = {name: resolutions[_site(name)] for name in maxima if _site(name) in resolutions}
    return Int8Draft(
        model=model,
        largest={inputs[name]: max(float(maxima[name].max()), 1e-6) for name in nodes},
        nodes=nodes,
    )


def _convolutions(model: Any) -> list[Any]:
    return [node for node in model.graph.node if node.op_type in _OPERATORS]


def _site(node: str) -> str:
    """Return the site of a node: ``b64.conv0.convolution/ConvTranspose`` → ``b64.conv0``."""
    return ".".join(node.partition("/")[0].split(".")[:2])


def _channel_maxima(model: bytes, batches: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Return the largest magnitude of each channel of each convolution's input, [I], by node."""
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
                # The row for the batch is kept: the session expects a batch dimension.
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
    # One image at a time, so that the output's one row is a batch of 1.
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
