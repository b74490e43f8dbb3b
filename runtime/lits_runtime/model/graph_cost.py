"""Upper bounds of the memory and time that a graph takes, before it runs.

The rule of each operator (`output_sizes`) bounds the size of its output for slabs of any size.
Costs are computed for a slab of one slice of 512 x 512. No size may grow faster than the number of
slices or the square of their longer side, so that other slabs cost no more than in proportion.
"""

from collections.abc import Sequence
from typing import NoReturn

from lits_runtime.errors import ModelError
from lits_runtime.messages import brief
from lits_runtime.model.allowed_operators import operator_of
from lits_runtime.model.onnx_file.onnx_graph import GraphReader, Node, Value
from lits_runtime.model.onnx_file.onnx_messages import ELEMENTS
from lits_runtime.model.onnx_file.protobuf import refuse
from lits_runtime.model.size_bounds import MAX_RANK, SLAB, Known, constant, elements, memory_width

SIDE = 512
"""Side of the slice that costs are given for. The limits also allow this working size, at which the
recipes take a tenth to two thirds of them."""
MAX_NODES = 4000
"""Ten times a network in float32, seven times one in int8."""
MAX_BYTES = 3 * 2**29
"""Of everything computed for one slice, although most of it is freed on the way."""
MAX_BYTES_AT_ONCE = 2**27
"""Held at the same time, in the order of the file and in ONNX Runtime's."""
MAX_CONSTANT_BYTES = 2**27
"""Computed from constants and shapes alone: ONNX Runtime does so once, and keeps the results."""
MAX_OPERATIONS = 2**35
"""Multiplications for one slice; each element read or written counts as eight."""
_LARGEST_SIDE = 2**31
_PER_ELEMENT = 8
_SLAB = (1, SIDE, SIDE)
_WIDTHS = {name: memory_width(kind) for kind, (name, _) in ELEMENTS.items()}


class GraphCost:
    """Adds up the costs of a graph, node by node in the order of the data.

    Raises:
        ModelError: a node is not allowed or reads a value that no earlier node gives, or one node
            or the whole graph costs too much.
    """

    def __init__(self, reader: GraphReader) -> None:
        self.bytes = self.constant_bytes = self.operations = 0
        self._known: dict[str, Known] = {}
        self._elements: dict[str, int] = {}
        self._constant: set[str] = {tensor.name for tensor in reader.tensors}
        self._scratch: list[int] = []
        """Bytes that each node takes in addition to its output."""
        if len(reader.nodes) > MAX_NODES:
            refuse(f"{len(reader.nodes)} nodes, more than {MAX_NODES}")
        for tensor in reader.tensors:
            values = reader.constants.get(tensor.name)
            self._add(tensor.name, constant(tensor.dims, _WIDTHS[tensor.type], values))
        for value in reader.inputs:
            self._add(value.name, SLAB)
        for node in reader.nodes:
            self._add_node(node)
        orders = range(len(reader.nodes)), run_order(reader.nodes)
        kept = [value.name for value in reader.outputs]
        if missing := set(kept) - {name for node in reader.nodes for name in node.outputs}:
            refuse(f"the output {brief(min(missing))!r}, which no node gives")
        for value in (*reader.outputs, *reader.between):
            self._compare(value)
        self.bytes_at_once = max(self._peak(reader.nodes, order, kept) for order in orders)
        if self.bytes_at_once > MAX_BYTES_AT_ONCE:
            _refuse(f"{self.bytes_at_once:,} bytes at once", MAX_BYTES_AT_ONCE)

    def _add(self, name: str, known: Known) -> None:
        if not name or name in self._known:
            refuse(f"two values of the name {brief(name)!r}")
        count = elements(known.dims, _SLAB)
        sides = [size.at(_SLAB) for size in known.dims]
        if count is None or len(sides) > MAX_RANK or max(sides, default=0) > _LARGEST_SIDE:
            refuse(f"the value {brief(name)!r}, which grows faster than the slab")
        self._known[name], self._elements[name] = known, count

    def _add_node(self, node: Node) -> None:
        rule = operator_of(node).rule
        try:
            inputs = [self._known[name] if name else SLAB for name in node.inputs]
        except KeyError as error:
            refuse(f"a {node.operator} of {brief(error)}, which no earlier node gives")
        known, name = rule(node.operator, node.attributes, inputs), node.outputs[0]
        self._add(name, known)
        products = elements(known.products, _SLAB) if known.products else 0
        scratch = elements(known.scratch, _SLAB) if known.scratch else 0
        if products is None or scratch is None:
            refuse(f"a {node.operator} whose cost grows faster than the slab")
        self._scratch.append(4 * scratch)
        touched = sum(self._elements[one] for one in (*node.inputs, name) if one)
        self.bytes += self._bytes(name)
        self.operations += products + _PER_ELEMENT * touched
        if node.operator == "Shape" or self._constant.issuperset(node.inputs):
            self._constant.add(name)
            self.constant_bytes += self._bytes(name)
        self._hold_to_limits(node.operator)

    def _compare(self, value: Value) -> None:
        """Compare the size that the file declares for a value with the one found.

        ONNX Runtime believes the declared size where it cannot infer one.
        """
        known = self._known.get(value.name)
        if known is None:
            return  # of a node that was removed
        if len(value.dims) != len(known.dims) or any(
            isinstance(told, int) and not (size.constant and told <= size.fixed)
            for told, size in zip(value.dims, known.dims, strict=True)
        ):
            refuse(f"the value {brief(value)}, which is of another size")

    def _hold_to_limits(self, operator: str) -> None:
        if self.bytes > MAX_BYTES:
            _refuse(f"{self.bytes:,} bytes up to a {operator}", MAX_BYTES)
        if self.constant_bytes > MAX_CONSTANT_BYTES:
            found = f"{self.constant_bytes:,} bytes of constants up to a {operator}"
            _refuse(found, MAX_CONSTANT_BYTES)
        if self.operations > MAX_OPERATIONS:
            _refuse(f"{self.operations:,} operations up to a {operator}", MAX_OPERATIONS)

    def _bytes(self, name: str) -> int:
        return self._elements[name] * self._known[name].width

    def _peak(self, nodes: Sequence[Node], order: Sequence[int], kept: Sequence[str]) -> int:
        """Most bytes held at once if nodes run in this order, constants not counted."""
        last = {name: at for at in order for name in nodes[at].inputs}
        last |= dict.fromkeys(kept, -1)
        living = peak = 0
        made = set[str]()
        for at in order:
            name = nodes[at].outputs[0]
            if name in self._constant:
                continue
            made.add(name)
            living += self._bytes(name)
            peak = max(peak, living + self._scratch[at])
            for done in {name, *nodes[at].inputs} & made:
                if last.get(done, at) == at:
                    living -= self._bytes(done)
        return peak


def run_order(nodes: Sequence[Node]) -> list[int]:
    """Indices of nodes in the order in which ONNX Runtime runs them, apart from its optimisations.

    Depth first, upwards from each node whose output nothing reads.
    Source: Graph::ReverseDFSFrom in onnxruntime/core/graph/graph.cc.
    """
    maker = {name: at for at, node in enumerate(nodes) for name in node.outputs}
    above = [sorted({maker[name] for name in node.inputs if name in maker}) for node in nodes]
    read = {at for found in above for at in found}
    stack = [(at, False) for at in range(len(nodes)) if at not in read]
    order, seen = list[int](), set[int]()
    while stack:
        at, leaving = stack.pop()
        if leaving:
            order.append(at)
        elif at not in seen:
            seen.add(at)
            stack.append((at, True))
            stack += [(one, False) for one in above[at] if one not in seen]
    return order


def _refuse(found: str, most: int) -> NoReturn:
    raise ModelError(
        f"the model takes {found} for a slice of {SIDE} x {SIDE}, expected at most {most:,}: its "
        f"working size is far beyond {SIDE}, or lits-export did not write it"
    )
