"""The operators that a model may have, with their attributes: those that lits-export writes.

Another one is a line in `OPERATORS`: how many inputs it has, the rule for the size of its output,
and the values that each attribute may have. The rule bounds what a node can cost, and the list what
it can do. The tests of lits-export check every exported model against this table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from lits_runtime.messages import brief
from lits_runtime.model import output_sizes as rules
from lits_runtime.model.onnx_file.onnx_graph import AttributeValue, Node
from lits_runtime.model.onnx_file.onnx_messages import ELEMENTS
from lits_runtime.model.onnx_file.protobuf import refuse
from lits_runtime.model.output_sizes import Rule


class Allowed(Protocol):
    """The values that an attribute may have."""

    def holds(self, value: AttributeValue) -> bool:
        """Whether this one is among them, and of the right type."""
        ...


@dataclass(frozen=True)
class Whole:
    """An integer within bounds."""

    least: int
    most: int

    def holds(self, value: AttributeValue) -> bool:
        """See `Allowed`."""
        return isinstance(value, int) and self.least <= value <= self.most


@dataclass(frozen=True)
class Wholes:
    """A list of integers within bounds."""

    count: int
    least: int
    most: int

    def holds(self, value: AttributeValue) -> bool:
        """See `Allowed`."""
        return (
            isinstance(value, tuple)
            and len(value) == self.count
            and all(self.least <= number <= self.most for number in value)
        )


@dataclass(frozen=True)
class Among:
    """One of a few values."""

    values: tuple[AttributeValue, ...]

    def holds(self, value: AttributeValue) -> bool:
        """See `Allowed`."""
        return any(type(value) is type(one) and value == one for one in self.values)


@dataclass(frozen=True)
class Permutation:
    """A permutation of the axes."""

    def holds(self, value: AttributeValue) -> bool:
        """See `Allowed`."""
        return isinstance(value, tuple) and sorted(value) == list(range(len(value)))


@dataclass(frozen=True)
class Operator:
    """What a node of this operator may look like; it has one output."""

    inputs: tuple[int, int]
    """Least and largest number."""
    rule: Rule
    needed: Mapping[str, Allowed] = field(default_factory=dict)
    """Attributes that the exporter always writes."""
    optional: Mapping[str, Allowed] = field(default_factory=dict)
    left_out: frozenset[int] = frozenset()
    """Inputs that must be left out although others follow."""


_AXIS = Whole(-8, 7)
_FLAG = Whole(0, 1)
_ONCE, _TWICE = (1, 1), (2, 2)
_WINDOW: dict[str, Allowed] = {
    "group": Whole(1, 4096),
    "auto_pad": Among((b"NOTSET",)),
    "strides": Wholes(2, 1, 4),
    "pads": Wholes(4, 0, 8),
    "dilations": Wholes(2, 1, 4),
    "kernel_shape": Wholes(2, 1, 8),
}
_REDUCED = Operator(
    _TWICE, rules.reduced, {"keepdims": _FLAG}, {"noop_with_empty_axes": Among((0,))}
)
_ELEMENTWISE = Operator(_ONCE, rules.same)
_COMPARED = Operator(_TWICE, rules.compared)
_COMBINED = Operator(_TWICE, rules.elementwise)

OPERATORS: dict[str, Operator] = {
    "Add": Operator(_TWICE, rules.shifted),
    "Cast": Operator(_ONCE, rules.cast, {"to": Among(tuple(ELEMENTS))}),
    "Clip": Operator((2, 3), rules.same),
    "Concat": Operator((1, 8), rules.concatenated, {"axis": _AXIS}),
    "Conv": Operator((2, 3), rules.convolution, _WINDOW),
    "ConvTranspose": Operator(
        (2, 3), rules.convolution, {**_WINDOW, "output_padding": Wholes(2, 0, 4)}
    ),
    "DepthToSpace": Operator(
        _ONCE, rules.depth_to_space, {"blocksize": Whole(1, 8), "mode": Among((b"CRD",))}
    ),
    "DequantizeLinear": Operator((3, 3), rules.quantised, optional={"axis": _AXIS}),
    "Div": _COMBINED,
    "Expand": Operator(_TWICE, rules.expanded),
    "Gather": Operator(_TWICE, rules.gathered, optional={"axis": _AXIS}),
    "GreaterOrEqual": _COMPARED,
    "Max": _COMBINED,
    "Mul": _COMBINED,
    "QuantizeLinear": Operator((3, 3), rules.quantised, optional={"axis": _AXIS}),
    "ReduceMax": _REDUCED,
    "ReduceMean": _REDUCED,
    "ReduceMin": _REDUCED,
    "Relu": _ELEMENTWISE,
    "Reshape": Operator(_TWICE, rules.flattened, optional={"allowzero": Among((0,))}),
    "Resize": Operator(
        (4, 4),
        rules.resized,
        {
            "mode": Among((b"linear",)),
            "coordinate_transformation_mode": Among((b"half_pixel",)),
            "antialias": _FLAG,
            "exclude_outside": _FLAG,
            "keep_aspect_ratio_policy": Among((b"stretch",)),
            "nearest_mode": Among((b"floor",)),
            "cubic_coeff_a": Among((-0.75,)),
            "extrapolation_value": Among((0.0,)),
        },
        left_out=frozenset((1, 2)),
    ),
    "Shape": Operator(_ONCE, rules.shape, optional={"start": _AXIS, "end": Whole(-8, 8)}),
    "Sigmoid": _ELEMENTWISE,
    "Slice": Operator((3, 5), rules.sliced),
    "Squeeze": Operator((1, 2), rules.squeezed),
    "Sub": Operator(_TWICE, rules.shifted),
    "Unsqueeze": Operator(_TWICE, rules.unsqueezed),
    "Where": Operator((3, 3), rules.elementwise),
    # A resize as two matrix products, with weights that the graph computes.
    "Abs": _ELEMENTWISE,
    "Ceil": _ELEMENTWISE,
    "Floor": _ELEMENTWISE,
    "MatMul": Operator(_TWICE, rules.matrix_product),
    "Min": _COMBINED,
    "Neg": _ELEMENTWISE,
    "Range": Operator((3, 3), rules.counted),
    "Reciprocal": _ELEMENTWISE,
    "ReduceSum": _REDUCED,
    "Transpose": Operator(_ONCE, rules.transposed, {"perm": Permutation()}),
    # Found in small models written by hand, and as cheap as the rest.
    "And": _COMPARED,
    "CumSum": Operator(_TWICE, rules.same),
    "Equal": _COMPARED,
    "Greater": _COMPARED,
    "Identity": _ELEMENTWISE,
    "Less": _COMPARED,
    "LessOrEqual": _COMPARED,
    "Not": _ELEMENTWISE,
    "Or": _COMPARED,
    "Sum": Operator((1, 8), rules.elementwise),
}


def operator_of(node: Node) -> Operator:
    """The operator of a node that looks as it may.

    Raises:
        ModelError: the operator is not allowed, or not with these inputs or attributes.
    """
    operator = OPERATORS.get(node.operator)
    if operator is None:
        refuse(f"the operator {brief(node.operator)!r}")
    kind, (least, most) = node.operator, operator.inputs
    left_out = {at for at, name in enumerate(node.inputs) if not name}
    if not least <= len(node.inputs) <= most or left_out != operator.left_out:
        refuse(f"a {kind} of {len(node.inputs)} inputs, {len(left_out)} of them left out")
    if len(node.outputs) != 1 or not node.outputs[0]:
        refuse(f"a {kind} of {len(node.outputs)} outputs")
    for name, value in node.attributes.items():
        allowed = operator.needed.get(name) or operator.optional.get(name)
        if allowed is None or not allowed.holds(value):
            refuse(f"a {kind} whose {brief(name)!r} is {brief(value)}")
    if missing := operator.needed.keys() - node.attributes.keys():
        refuse(f"a {kind} without {', '.join(sorted(missing))}")
    return operator
