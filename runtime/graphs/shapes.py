"""Shapes of an operator's results, and the work that it takes, from the shapes of its inputs.

A size is a number, or ``BATCH`` or ``ROWS``: the batch, which no other size depends on. A shape
has one of them at most, and counts it as 1, so that elements and work are those of one image. A
shape that cannot be told is an error. Source: onnx/docs/Operators.md, opsets 18 to 22.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from segan.runtime.graphs.tensors import BOOL, INT8, INT64, MAX_AXES, TYPES, UINT8
from segan.runtime.graphs.wire import MalformedModelError

#: The open size of every input, and of the inputs that may have one row for the whole batch.
BATCH: Final = "N"
ROWS: Final = "M"

Size = int | str

#: Largest step of a convolution and largest block: StyleGAN3 resamples by 4.
_MAX_STRIDE = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """What is known of a tensor.

    Attributes:
        kind: element type, a key of ``TYPES``.
        shape: its sizes.
        numbers: the values of a short constant of int64, flat; None for every other tensor.
        constant: whether no input of the graph changes it.
    """

    kind: int
    shape: tuple[Size, ...]
    numbers: tuple[int, ...] | None = None
    constant: bool = False

    @property
    def count(self) -> int:
        """Elements for one image."""
        return count(self.shape)

    def __str__(self) -> str:
        return f"{TYPES[self.kind][0]} [{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class Call:
    """One node: its inputs, None for one that is left out, its attributes and number of outputs."""

    inputs: tuple[Value | None, ...]
    attributes: dict[str, Any]
    outputs: int

    def __getitem__(self, place: int) -> Value:
        found = self.inputs[place] if place < len(self.inputs) else None
        if found is None:
            raise _bad(f"input {place} is missing")
        return found

    def optional(self, place: int) -> Value | None:
        """Return an input, or None."""
        return self.inputs[place] if place < len(self.inputs) else None

    def numbers(self, place: int) -> tuple[int, ...]:
        """Return the values of an input that must be a short constant."""
        value = self[place]
        if value.numbers is None:
            raise _bad(f"input {place} is {value}; expected a constant list of int64")
        return value.numbers

    def axis(self, rank: int, default: int = 0) -> int:
        """Return the attribute ``axis``, from 0."""
        return _axis(self.attributes.get("axis", default), rank)


#: (shape and type of each output, multiply-adds or elements touched for one image).
Result = tuple[list[Value], int]
Rule = Callable[[Call], Result]


def _bad(problem: str) -> MalformedModelError:
    return MalformedModelError(problem)


def count(shape: Iterable[Size]) -> int:
    """Return the elements of a shape for one image."""
    return math.prod(size for size in shape if isinstance(size, int))


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise _bad(f"there is no axis {axis} of {rank}")
    return axis % rank


def _known(size: Size) -> int:
    if not isinstance(size, int):
        raise _bad("the result would depend on the size of the batch")
    return size


def _result(call: Call, shape: Sequence[Size], kind: int | None = None, work: int = 0) -> Result:
    """Return the result of an operator with one output; the work is at least one per element."""
    inputs = [value for value in call.inputs if value is not None]
    if len(shape) > MAX_AXES:
        raise _bad(f"the result has {len(shape)} axes; expected at most {MAX_AXES}")
    if sum(not isinstance(size, int) for size in shape) > 1:
        raise _bad("the result would grow with the square of the batch")
    if any(isinstance(size, int) and size < 1 for size in shape):
        raise _bad(f"the result would have the shape {list(shape)}")
    found = Value(
        kind=call[0].kind if kind is None else kind,
        shape=tuple(shape),
        constant=all(value.constant for value in inputs),
    )
    return [found], max(work, found.count + sum(value.count for value in inputs))


def _broadcast(*shapes: tuple[Size, ...]) -> tuple[Size, ...]:
    found: list[Size] = []
    for back in range(1, max(map(len, shapes)) + 1):
        sizes = {shape[-back] for shape in shapes if len(shape) >= back} - {1}
        if len(sizes) > 1:
            sizes.discard(ROWS)
        if len(sizes) > 1:
            raise _bad(f"the shapes {', '.join(str(list(s)) for s in shapes)} do not fit")
        found.append(sizes.pop() if sizes else 1)
    return tuple(reversed(found))


def _same_kind(call: Call) -> list[Value]:
    values = [value for value in call.inputs if value is not None]
    if len({value.kind for value in values}) > 1:
        raise _bad(f"its inputs are {', '.join(map(str, values))}")
    return values


def elementwise(call: Call) -> Result:
    """Inputs of one type, broadcast."""
    return _result(call, _broadcast(*(value.shape for value in _same_kind(call))))


def compare(call: Call) -> Result:
    """As ``elementwise``, with a bool for each element."""
    return _result(call, _broadcast(*(value.shape for value in _same_kind(call))), BOOL)


def clip(call: Call) -> Result:
    """A tensor between two numbers."""
    values = _same_kind(call)
    if any(value.shape for value in values[1:]):
        raise _bad("its bounds are not single numbers")
    return _result(call, call[0].shape)


def cast(call: Call) -> Result:
    """The attribute ``to`` names the type."""
    to = call.attributes.get("to")
    if to not in TYPES:
        raise _bad(f"it casts to the element type {to}")
    return _result(call, call[0].shape, to)


def quantize(call: Call) -> Result:
    """Float to int8 or uint8, or back: the type is that of the zero point or of the scale."""
    x, scale, zero = call[0], call[1], call[2]
    back = x.kind in (INT8, UINT8)
    if (zero.kind not in (INT8, UINT8)) or (back and x.kind != zero.kind):
        raise _bad(f"its zero point is {zero}")
    if scale.shape != zero.shape or len(scale.shape) > 1:
        raise _bad(f"its scale is {scale}, its zero point {zero}")
    if scale.shape and scale.shape[0] != x.shape[call.axis(len(x.shape), 1)]:
        raise _bad(f"its scale is {scale} for {x}")
    return _result(call, x.shape, scale.kind if back else zero.kind)


def concat(call: Call) -> Result:
    """Tensors that differ in one axis."""
    values = _same_kind(call)
    axis = call.axis(len(values[0].shape))
    rests = {(len(v.shape), v.shape[:axis], v.shape[axis + 1 :]) for v in values}
    if len(rests) > 1:
        raise _bad(f"its inputs are {', '.join(map(str, values))}")
    total = sum(_known(value.shape[axis]) for value in values)
    shape = values[0].shape
    return _result(call, (*shape[:axis], total, *shape[axis + 1 :]))


def _planes(call: Call) -> tuple[Size, int, int, int]:
    """Return N, C, H and W of the first input."""
    shape = call[0].shape
    if len(shape) != 4:
        raise _bad(f"its input is {call[0]}; expected [N, C, H, W]")
    return shape[0], _known(shape[1]), _known(shape[2]), _known(shape[3])


def _window(call: Call) -> tuple[tuple[int, int, int, int], int, list[int], list[int]]:
    """Return a convolution's weight shape, groups, strides and padding (both ends) of two axes."""
    weight = call[1]
    _same_kind(call)
    if len(weight.shape) != 4 or not weight.constant:
        raise _bad(f"its weight is {weight}; expected a constant of four axes")
    first, second, height, width = (_known(size) for size in weight.shape)
    given = call.attributes
    groups = given.get("group", 1)
    strides, dilations = given.get("strides", (1, 1)), given.get("dilations", (1, 1))
    pads = given.get("pads", (0, 0, 0, 0))
    if given.get("auto_pad", "NOTSET") != "NOTSET" or set(dilations) != {1}:
        raise _bad("its auto_pad or dilations are not the defaults")
    if given.get("kernel_shape", (height, width)) != (height, width) or groups < 1:
        raise _bad(f"its kernel_shape or group does not fit its weight {weight}")
    if len(strides) != 2 or len(pads) != 4 or not all(1 <= s <= _MAX_STRIDE for s in strides):
        raise _bad(f"its strides are {list(strides)}; expected two, 1 to {_MAX_STRIDE}")
    # More than a kernel of zeros gives outputs that no input changes.
    if any(not 0 <= pad < (height, width)[n % 2] for n, pad in enumerate(pads)):
        raise _bad(f"its pads are {list(pads)}; expected less than the kernel")
    both = [pads[0] + pads[2], pads[1] + pads[3]]
    return (first, second, height, width), groups, list(strides), both


def conv(call: Call) -> Result:
    """A convolution with constant weights."""
    batch, channels, *sizes = _planes(call)
    (out, into, *kernel), groups, strides, pads = _window(call)
    if into * groups != channels or out % groups:
        raise _bad(f"its weight is {call[1]} in {groups} groups for {call[0]}")
    _check_bias(call, out)
    found = [
        (size + pad - taps) // stride + 1
        for size, pad, taps, stride in zip(sizes, pads, kernel, strides, strict=True)
    ]
    return _result(
        call, (batch, out, *found), work=out * math.prod(found) * into * math.prod(kernel)
    )


def conv_transpose(call: Call) -> Result:
    """A transposed convolution with constant weights."""
    batch, channels, *sizes = _planes(call)
    (into, out, *kernel), groups, strides, pads = _window(call)
    extra = call.attributes.get("output_padding", (0, 0))
    if into != channels or into % groups:
        raise _bad(f"its weight is {call[1]} in {groups} groups for {call[0]}")
    if len(extra) != 2 or any(not 0 <= e < s for e, s in zip(extra, strides, strict=True)):
        raise _bad(f"its output_padding is {list(extra)}")
    _check_bias(call, out * groups)
    found = [
        (size - 1) * stride - pad + taps + more
        for size, stride, pad, taps, more in zip(sizes, strides, pads, kernel, extra, strict=True)
    ]
    work = into * math.prod(sizes) * out * math.prod(kernel)
    return _result(call, (batch, out * groups, *found), work=work)


def _check_bias(call: Call, channels: int) -> None:
    bias = call.optional(2)
    if bias is not None and bias.shape != (channels,):
        raise _bad(f"its bias is {bias}; expected [{channels}]")


def depth_to_space(call: Call) -> Result:
    """Blocks of channels become blocks of pixels."""
    batch, channels, height, width = _planes(call)
    block = call.attributes.get("blocksize", 0)
    if not 1 <= block <= _MAX_STRIDE or channels % block**2:
        raise _bad(f"its blocksize is {block} for {call[0]}")
    if call.attributes.get("mode", "DCR") not in ("DCR", "CRD"):
        raise _bad(f"its mode is {call.attributes['mode']!r}")
    return _result(call, (batch, channels // block**2, height * block, width * block))


def flatten(call: Call) -> Result:
    """A matrix of the axes before ``axis``, which must be the batch, and the others."""
    shape = call[0].shape
    if call.axis(len(shape), 1) != 1:
        raise _bad("its axis is not 1")
    return _result(call, (shape[0], count(shape[1:])))


def global_average_pool(call: Call) -> Result:
    """The mean of each channel."""
    batch, channels, _, _ = _planes(call)
    return _result(call, (batch, channels, 1, 1))


def gather(call: Call) -> Result:
    """Parts of an axis by their numbers, which are a constant."""
    data, indices = call[0], call[1]
    axis = call.axis(len(data.shape))
    size = _known(data.shape[axis])
    if indices.kind != INT64 or not indices.constant:
        raise _bad(f"its indices are {indices}; expected a constant of int64")
    if indices.numbers is None:
        raise _bad(f"its indices are {indices}; expected a constant whose numbers are read")
    if any(not -size <= index < size for index in indices.numbers):
        raise _bad(f"its indices are not all within {size}")
    return _result(call, (*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]))


def gemm(call: Call) -> Result:
    """alpha · A B + beta · C of matrices, A or B transposed."""
    values = _same_kind(call)
    if any(len(value.shape) != 2 for value in values[:2]):
        raise _bad(f"its inputs are {values[0]} and {values[1]}; expected two matrices")
    a, b = values[0].shape, values[1].shape
    a = a[::-1] if call.attributes.get("transA", 0) else a
    b = b[::-1] if call.attributes.get("transB", 0) else b
    if _known(a[1]) != _known(b[0]):
        raise _bad(f"its matrices are {values[0]} and {values[1]}")
    shape = (a[0], b[1])
    if len(values) > 2 and _broadcast(values[2].shape, shape) != shape:
        raise _bad(f"its inputs are {', '.join(map(str, values))}")
    return _result(call, shape, work=count(shape) * _known(a[1]))


def matmul(call: Call) -> Result:
    """Products of matrices, broadcast over the axes before the last two."""
    a, b = (value.shape for value in _same_kind(call))
    if len(a) < 2 or len(b) < 2 or _known(a[-1]) != _known(b[-2]):
        raise _bad(f"its inputs are {call[0]} and {call[1]}")
    before = _broadcast(a[:-2], b[:-2]) if len(a) > 2 or len(b) > 2 else ()
    shape = (*before, a[-2], b[-1])
    return _result(call, shape, work=count(shape) * _known(a[-1]))


def pad(call: Call) -> Result:
    """Zeros around a tensor."""
    shape, pads = call[0].shape, call.numbers(1)
    if call.attributes.get("mode", "constant") != "constant" or len(pads) != 2 * len(shape):
        raise _bad(f"it pads {call[0]} by {list(pads)}")
    if any(number < 0 for number in pads):
        raise _bad(f"its pads are {list(pads)}; expected none below 0")
    both = [
        first + last for first, last in zip(pads[: len(shape)], pads[len(shape) :], strict=True)
    ]
    return _result(
        call,
        [size if not more else _known(size) + more for size, more in zip(shape, both, strict=True)],
    )


def reduce(call: Call) -> Result:
    """One number for all elements of some axes, or of all."""
    shape = call[0].shape
    keep = call.attributes.get("keepdims", 1)
    if call.optional(1) is None:
        axes = set(range(len(shape)))
    else:
        axes = {_axis(axis, len(shape)) for axis in call.numbers(1)}
    if not axes or call.attributes.get("noop_with_empty_axes", 0):
        raise _bad("it reduces no axis")
    sizes = [1 if n in axes else size for n, size in enumerate(shape) if keep or n not in axes]
    return _result(call, sizes)


def reshape(call: Call) -> Result:
    """The same elements in another shape, whose open size stays that of the batch."""
    shape, target = call[0].shape, list[Size](call.numbers(1))
    if not call.attributes.get("allowzero", 0):
        for place, size in enumerate(target):
            if size == 0 and place < len(shape):
                target[place] = shape[place]
    if target.count(-1) > 1 or any(isinstance(size, int) and size < -1 for size in target):
        raise _bad(f"its shape is {target}")
    batch = next((size for size in shape if not isinstance(size, int)), None)
    have, want = count(shape), count(size for size in target if size != -1)
    if -1 in target:
        place = target.index(-1)
        if batch is not None and batch not in target:
            # Anything else would make images of one another's elements.
            target[place] = batch if have == want else 0
        else:
            target[place] = have // want if want and have % want == 0 else 0
    if count(target) != have or (batch is not None and batch not in target):
        raise _bad(f"its input is {call[0]}, its shape {list(call.numbers(1))}")
    return _result(call, target)


def slice_(call: Call) -> Result:
    """Part of some axes."""
    shape = list(call[0].shape)
    starts, ends = call.numbers(1), call.numbers(2)
    axes = tuple(range(len(starts))) if call.optional(3) is None else call.numbers(3)
    steps = (1,) * len(starts) if call.optional(4) is None else call.numbers(4)
    if not len(starts) == len(ends) == len(axes) == len(steps) or any(s < 1 for s in steps):
        raise _bad("its starts, ends, axes and steps do not fit")
    if len({_axis(axis, len(shape)) for axis in axes}) < len(axes):
        raise _bad(f"its axes are {list(axes)}")
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = _known(shape[axis])
        shape[axis] = len(range(*slice(start, end, step).indices(size)))
    return _result(call, shape)


def split(call: Call) -> Result:
    """Consecutive parts of one axis."""
    shape = call[0].shape
    axis = call.axis(len(shape))
    size = _known(shape[axis])
    if call.optional(1) is not None:
        sizes = call.numbers(1)
    else:
        if size % call.outputs:
            raise _bad(f"{size} elements do not make {call.outputs} equal parts")
        sizes = (size // call.outputs,) * call.outputs
    if len(sizes) != call.outputs or sum(sizes) != size or any(part < 1 for part in sizes):
        raise _bad(f"it splits {size} elements into {list(sizes)}")
    parts = [_result(call, (*shape[:axis], part, *shape[axis + 1 :]))[0][0] for part in sizes]
    return parts, 2 * call[0].count


def transpose(call: Call) -> Result:
    """Axes in another order."""
    shape = call[0].shape
    order = call.attributes.get("perm", tuple(reversed(range(len(shape)))))
    if sorted(order) != list(range(len(shape))):
        raise _bad(f"its perm is {list(order)} for {call[0]}")
    return _result(call, [shape[axis] for axis in order])


def unsqueeze(call: Call) -> Result:
    """New axes of size 1."""
    shape, given = list(call[0].shape), call.numbers(1)
    rank = len(shape) + len(given)
    axes = sorted({_axis(axis, rank) for axis in given})
    if len(axes) < len(given):
        raise _bad(f"its axes are {list(given)}")
    for axis in axes:
        shape.insert(axis, 1)
    return _result(call, shape)
