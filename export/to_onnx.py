"""A PyTorch module as an ONNX graph: torch.onnx with dynamo, opset 18, dynamic batch.

The exporter's optimiser is not used. Its rules treat a number within 1e-8 of 0 as 0, which removes
the ε of the demodulation and of the pixel norm, and a number within 1e-5 of 1 as 1. Constants are
folded instead, and the modules are written so that nothing else needs rewriting.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version

import onnx
import onnx_ir.passes.common as passes
import torch
from onnx_ir.passes import Sequential
from onnxscript import optimizer
from torch import nn

from segan.export.graphs import IR_VERSION, OPSET
from segan.export.memory import release_memory
from segan.export.naming import tidy_graph
from segan.runtime.errors import ExportError

#: Opset of graphs that hold bf16, the first whose convolutions take it. From 18 to 22 the operators
#: in these graphs gained types, and kept their meaning. IR 10 is the first version that has it.
BF16_OPSET, BF16_IR_VERSION = 22, 10

#: Name of the dynamic first dimension of every input and output.
BATCH = "batch"

#: protobuf holds messages of less than 2 GiB; the graph itself needs a little.
MAX_WEIGHT_BYTES = 2**31 - 2**24


def to_onnx(
    module: nn.Module,
    inputs: Mapping[str, torch.Tensor],
    outputs: Sequence[str],
    *,
    own_batch: Mapping[str, str] | None = None,
) -> bytes:
    """Export ``module``.

    Args:
        module: takes the inputs by name. float64 tensors are converted to float32; half-precision
            tensors are kept. The module is used up: its tensors are freed at the end.
        inputs: an example of each input, in order, with a first dimension of 2.
        outputs: names of the outputs, in order.
        own_batch: inputs whose first dimension is broadcast over the batch, so that it may be 1
            or N: name → name of that dimension. Their examples have a first dimension of 1.

    Returns:
        The serialized ONNX model, checked. The same weights and library versions give the same
        bytes.

    Raises:
        ExportError: the weights pass 2 GiB, or the exporter failed.
    """
    module = module.eval()
    _as_float32(module)
    size = sum(value.numel() * value.element_size() for value in module.state_dict().values())
    if size > MAX_WEIGHT_BYTES:
        raise ExportError(
            f"{type(module).__name__} holds {size / 2**30:.1f} GiB of weights",
            field="weights",
            value=size,
            expected="less than 2 GiB, the limit of one ONNX file",
            remedy="Train with fewer channels, or with mode 2 instead of mode 1.",
        )
    data = _serialized(module, inputs, outputs, own_batch or {})
    # The checker holds the weights twice more, so the module's are freed first.
    module.to("meta")
    release_memory()
    onnx.checker.check_model(data, full_check=True)
    return data


def _serialized(
    module: nn.Module,
    inputs: Mapping[str, torch.Tensor],
    outputs: Sequence[str],
    own_batch: Mapping[str, str],
) -> bytes:
    """Return the module as a serialized, tidied model; see ``to_onnx``."""
    shapes = {name: None if name in own_batch else {0: torch.export.Dim.DYNAMIC} for name in inputs}
    try:
        with _quiet(), torch.inference_mode():
            program = torch.onnx.export(
                module,
                kwargs=dict(inputs),
                dynamic_shapes=shapes,
                output_names=list(outputs),
                opset_version=OPSET,
                dynamo=True,
                optimize=False,
                verbose=False,
            )
            assert program is not None
            Sequential(passes.InlinePass())(program.model)
            optimizer.fold_constants(program.model)
            Sequential(
                passes.RemoveUnusedNodesPass(),
                passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
                passes.CommonSubexpressionEliminationPass(),
                passes.RemoveUnusedNodesPass(),
                passes.RemoveUnusedOpsetsPass(),
            )(program.model)
            model = program.model_proto
    except torch.onnx.errors.OnnxExporterError as error:
        first = str(error).strip().splitlines()[0]
        raise ExportError(
            f"torch.onnx could not export {type(module).__name__}: {first}",
            remedy=f"Versions: torch {version('torch')}, onnxscript {version('onnxscript')}.",
        ) from error
    tidy_graph(model, module.state_dict(), version("segan"))
    for value in (*model.graph.input, *model.graph.output):
        batch = value.type.tensor_type.shape.dim[0]
        batch.dim_param = own_batch.get(value.name, BATCH)
    assert [value.name for value in model.graph.input] == list(inputs)
    model.ir_version = IR_VERSION
    if any(tensor.data_type == onnx.TensorProto.BFLOAT16 for tensor in model.graph.initializer):
        (opset,) = model.opset_import
        opset.version, model.ir_version = BF16_OPSET, BF16_IR_VERSION
    return bytes(model.SerializeToString(deterministic=True))


def _as_float32(module: nn.Module) -> None:
    """Convert float64 tensors to float32 in place, one at a time."""
    for child in module.modules():
        for name, value in child.named_buffers(recurse=False):
            if value.dtype == torch.float64:
                setattr(child, name, value.float())
        for parameter in child.parameters(recurse=False):
            if parameter.dtype == torch.float64:
                parameter.data = parameter.data.float()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide two messages of the exporter that do not concern the user."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    # "torchvision is not installed": its operators are not used.
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # torch uses a way of copying tree specifications that it has deprecated itself.
            warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
            yield
    finally:
        registration.setLevel(level)
