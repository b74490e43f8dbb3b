"""Upper bounds of the outputs of ONNX's operators, one rule each, from what is known of the inputs.

Source: https://onnx.ai/onnx/operators, opset 18.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, TypeAlias

from lits_runtime.model.onnx_file.onnx_messages import FLOAT32, INT64
from lits_runtime.model.onnx_file.protobuf import refuse
from lits_runtime.model.size_bounds import (
    MAX_RANK,
    Known,
    Size,
    axis_of,
    broadcast,
    larger,
    memory_width,
    times,
    total,
    unbounded,
)

Attributes: TypeAlias = dict[str, Any]
"""Checked by `allowed_operators`: each has its type and is within bounds."""
Rule: TypeAlias = Callable[[str, Attributes, Sequence[Known]], Known]
"""Operator, attributes and inputs to the output."""


def _axes(operator: str, axes: Sequence[int], rank: int) -> set[int]:
    places = {axis_of(operator, axis, rank) for axis in axes}
    if len(places) < len(axes):
        refuse(f"a {operator} with one axis twice")
    return places


def same(operator: str, attributes: Attributes, inputs: Sequence[Known]) -> Known:
    """As large as its first input."""
    return Known(inputs[0].dims, inputs[0].width)


def elementwise(operator: str, attributes: Attributes, inputs: Sequence[Known]) -> Known:
    """Inputs combined element by element."""
    return Known(broadcast([known.dims for known in inputs]), max(k.width for k in inputs))


def compared(operator: str, attributes: Attributes, inputs: Sequence[Known]) -> Known:
    """Inputs combined element by element, to booleans."""
    return Known(broadcast([known.dims for known in inputs]), 1)


def shifted(operator: str, attributes: Attributes, inputs: Sequence[Known]) -> Known:
    """Add and Sub: sizes may have constants added."""
    found = elementwise(operator, attributes, inputs)
    (first, second), sign = inputs, 1 if operator == "Add" else -1
    if sign == 1 and second.exact is None:
        first, second = second, first
    if first.most is None or second.exact is None or len(second.exact) != 1:
        return found
    if len(first.dims) < len(second.dims):
        return found
    added = max(0, sign * second.exact[0])
    return found._replace(most=tuple(total([size, Size(added)]) for size in first.most))


def cast(operator: str, attributes: Attributes, inputs: Sequence[Known]) -> Known:
    """Another type; an int64 or float32 still holds sizes."""
    width = memory_width(attributes["to"])
    if attributes["to"] in (INT64, FLOAT32):
        return inputs[0]._replace(width=width, products=(), scratch=())
    return Known(inputs[0].dims, width)


def quantised(operator: str, attributes: Attributes, inputs: Sequence[Known]) -> Known:
    """QuantizeLinear to bytes, DequantizeLinear to the type of its scale."""
    return Known(inputs[0].dims, 1 if operator == "QuantizeLinear" else inputs[1].width)


def convolution(operator: str, attributes: Attributes, inputs: Sequence[Known]) -> Known:
    """Conv and ConvTranspose over slices of fixed sizes."""
    data, weight = inputs[0].dims, inputs[1].dims
    kernel, strides = attributes["kernel_shape"], attributes["strides"]
    pads, dilations = attributes["pads"], attributes["dilations"]
    if len(data) != 4 or len(weight) != 4 or not all(s.constant for s in (*data[1:], *weight)):
        unbounded(operator, "of sizes that are not fixed")
    if tuple(size.fixed for size in weight[2:]) != kernel:
        refuse(f"a {operator} whose kernel {kernel} is not its weight's")
    taken = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, kernel, strict=True)]
    sides = [data[2].fixed, data[3].fixed]
    ends = [side + pads[axis] + pads[axis + 2] for axis, side in enumerate(sides)]
    if operator == "Conv":
        given = [
            max(0, end - t) // step + 1 for end, t, step in zip(ends, taken, strides, strict=True)
        ]
        channels, places = weight[0], prod(given)
        # Eight bytes for each position and element of the kernel: to convolve integers, ONNX
        # Runtime lists the addresses of everything that it multiplies.
        scratch = Size(2 * prod(kernel))
    else:
        more = attributes["output_padding"]
        given = [
            step * (side - 1) + t + m
            for side, t, step, m in zip(sides, taken, strides, more, strict=True)
        ]
        channels, places = Size(weight[1].fixed * attributes["group"]), prod(sides)
        scratch = Size(prod(size.fixed for size in weight[1:]))
    return Known(
        (data[0], channels, *map(Size, given)),
        max(inputs[0].width, inputs[1].width),
        products=(data[0], Size(places), Size(prod(size.fixed for size in weight))),
        scratch=(scratch, Size(places)),
    )


def matrix_product(operator: str, attributes: Attributes, inputs: Sequence[Known]) -> Known:
    """MatMul of stacks of matrices."""
    first, second = (known.dims for known in inputs)
    if min(len(first), len(second)) < 2:
        unbounded(operator, "of vectors")
    stacks = broadcast([first[:-2], second[:-2]])
    dims = (*stacks, first[-2], second[-1])
    width = max(known.width for known in inputs)
    return Known(dims, width, products=(*dims, larger(first[-1], second[-2])))


def reduced(operator: str, attributes: Attributes, inputs: Sequence[Known]) -> Known:
    """ReduceSum and others, along the axes of a constant."""
    data = inputs[0]
    rank = len(data.dims)
    axes = inputs[1].exact
    if not axes:
        unbounded(operator, "along axes that are computed")
    gone = _axes(operator, axes, rank)
    if attributes["keepdims"]:
        dims = (Size(1) if at in gone else size for at, size in enumerate(data.dims))
        return Known(tuple(dims), data.width)
    return Known(tuple(size for at, size in enumerate(data.dims) if at not in gone), data.width)


def resized(operator: str, attributes: Attributes, inputs: Sequence[Known]) -> Known:
    """Resize to sizes, its fourth input."""
    sizes = inputs[3].most
    if sizes is None or len(sizes) != len(inputs[0].dims):
        unbounded(operator, "to sizes that are computed")
    return Known(sizes, inputs[0].width)


def expanded(operator: str, attributes: Attributes, inputs: Sequence[Known]) -> Known:
    """Expand to a shape."""
    if inputs[1].most is None or len(inputs[1].most) > MAX_RANK:
        unbounded(operator, "to sizes that are computed")
    return Known(broadcast([inputs[0].dims, inputs[1].most]), inputs[0].width)


def counted(operator: str, attributes: Attributes, inputs: Sequence[Known]) -> Known:
    """Range in steps of one or more."""
    start, limit, step = inputs
    if not (start.exact and limit.most and step.exact) or step.exact[0] < 1:
        unbounded(operator, "between values that are computed")
    length = total([limit.most[0], Size(max(0, -start.exact[0]) + 1)])
    return Known((length,), max(known.width for known in inputs))


def shape(operator: str, attributes: Attributes, inputs: Sequence[Known]) -> Known:
    """Shape, or a part of it."""
    sizes = inputs[0].dims[attributes.get("start", 0) : attributes.get("end")]
    return Known((Size(len(sizes)),), 8, sizes)


def concatenated(operator: str, attributes: Attributes, inputs: Sequence[Known]) -> Known:
    """Concat of tensors of one rank."""
    ranks = {len(known.dims) for known in inputs}
    if len(ranks) != 1:
        refuse(f"a {operator} of tensors of {sorted(ranks)} dimensions")
    axis = axis_of(operator, attributes["axis"], ranks.pop())
    dims = [larger(*sizes) for sizes in zip(*(known.dims for known in inputs), strict=True)]
    dims[axis] = total(known.dims[axis] for known in inputs)
    most: tuple[Size, ...] | None = ()
    for known in inputs:
        most = None if most is None or known.most is None else most + known.most
    return Known(tuple(dims), max(known.width for known in inputs), most)


def gathered(operator: str, attributes: Attributes, inputs: Sequence[Known]) -> Known:
    """Gather of indices along one axis."""
    data, indices = inputs
    axis = axis_of(operator, attributes.get("axis", 0), len(data.dims))
    dims = (*data.dims[:axis], *indices.dims, *data.dims[axis + 1 :])
    most = None
    if data.most is not None and indices.exact is not None and len(dims) <= 1:
        wanted = [axis_of(operator, index, len(data.most)) for index in indices.exact]
        most = tuple(data.most[index] for index in wanted)
    return Known(dims, data.width, most)


def sliced(operator: str, attributes: Attributes, inputs: Sequence[Known]) -> Known:
    """Slice: at most its input."""
    return Known(inputs[0].dims, inputs[0].width)


def unsqueezed(operator: str, attributes: Attributes, inputs: Sequence[Known]) -> Known:
    """Unsqueeze at the axes of a constant."""
    data, axes = inputs
    if not axes.exact:
        unbounded(operator, "at axes that are computed")
    rank = len(data.dims) + len(axes.exact)
    places = _axes(operator, axes.exact, rank)
    left = iter(data.dims)
    dims = tuple(Size(1) if at in places else next(left) for at in range(rank))
    return Known(dims, data.width, data.most if rank == 1 else None)


def squeezed(operator: str, attributes: Attributes, inputs: Sequence[Known]) -> Known:
    """Squeeze at the axes of a constant, or of a single size."""
    data = inputs[0]
    if len(inputs) == 1:
        if data.most is None or len(data.most) != 1:
            unbounded(operator, "without axes")
        return Known((), data.width, data.most)
    if not inputs[1].exact:
        unbounded(operator, "at axes that are computed")
    gone = _axes(operator, inputs[1].exact, len(data.dims))
    dims = tuple(size for at, size in enumerate(data.dims) if at not in gone)
    return Known(dims, data.width, data.most)


def flattened(operator: str, attributes: Attributes, inputs: Sequence[Known]) -> Known:
    """Reshape of a single value or a list to a list: all that the exporter uses it for."""
    data, target = inputs
    if len(data.dims) > 1 or target.exact != (-1,) or len(target.dims) != 1:
        unbounded(operator, f"of {len(data.dims)} dimensions to {target.exact}")
    return Known(data.dims or (Size(1),), data.width, data.most)


def transposed(operator: str, attributes: Attributes, inputs: Sequence[Known]) -> Known:
    """Transpose by a permutation."""
    dims, order = inputs[0].dims, attributes["perm"]
    if sorted(order) != list(range(len(dims))):
        refuse(f"a {operator} of {len(dims)} dimensions by {order}")
    return Known(tuple(dims[axis] for axis in order), inputs[0].width)


def depth_to_space(operator: str, attributes: Attributes, inputs: Sequence[Known]) -> Known:
    """DepthToSpace: channels become pixels."""
    block, dims = attributes["blocksize"], inputs[0].dims
    if len(dims) != 4 or not dims[1].constant:
        unbounded(operator, f"of {len(dims)} dimensions")
    sides = (times(dims[2], block), times(dims[3], block))
    return Known((dims[0], Size(dims[1].fixed // block**2), *sides), inputs[0].width)
