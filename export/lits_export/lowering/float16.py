"""The network in float16, module by module, with the float32 islands that it needs."""

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from lits_export.lowering.stored_weights import store_in_float16
from lits_export.lowering.trace import Traced, check

STEM = "encoder.0"
"""Kept in float32, weights and all: float16 resolves a slice scaled to 0..1 no better than 2 of
4096 HU, and whatever the stem rounds goes through all other layers."""
_SUMS = "ReduceMean"
"""Computed in float32 in every module: in float16 the sums of squeeze-and-excite pooling overflow,
and ONNX Runtime's CUDA kernel gives 0 or NaN (microsoft/onnxconverter-common#323)."""
_SUFFIX: dict[int, str] = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}


def in_float16(
    traced: Traced,
    names: Sequence[str],
    keep_float32: Sequence[str],
    float32_weights: Sequence[str],
) -> onnx.ModelProto:
    """The graph with the network's modules in float16, but for some.

    Each module casts what it takes to its own type. What lies between modules, such as an addition,
    is float16 where all that it takes is. Outside the network everything stays float32.

    Args:
        traced: the float32 graph.
        names: the modules whose precision is chosen.
        keep_float32: those of them that are computed in float32.
        float32_weights: those of the latter whose weights are stored in float32 too.
    """
    model = traced.model()
    owners = {node: _within(module, names) for node, module in traced.modules.items()}
    _Lowered(model.graph, owners, set(keep_float32)).rewrite()
    store_in_float16(model, except_for=float32_weights)
    check(model)
    return model


class _Lowered:
    """A graph on its way to float16."""

    def __init__(
        self, graph: onnx.GraphProto, owners: dict[str, str | None], keep_float32: set[str]
    ) -> None:
        self.graph, self.owners, self.keep = graph, owners, keep_float32
        self.stored = {entry.name: entry for entry in graph.initializer}
        self.float16: set[str] = set()
        """Values between nodes that are float16."""
        self.casts: set[str] = set()
        """Values that are cast to the other type already."""

    def rewrite(self) -> None:
        nodes = [one for node in self.graph.node for one in self._rewritten(node)]
        del self.graph.node[:]
        self.graph.node.extend(nodes)

    def _rewritten(self, node: NodeProto) -> Iterator[NodeProto]:
        """The node with its casts before it."""
        kind = self._kind(node)
        for at, name in enumerate(node.input):
            if name in self.stored:
                self._store(name, kind)
            elif (name in self.float16) != (kind == TensorProto.FLOAT16):
                node.input[at] = f"{name}.{_SUFFIX[kind]}"
                if name not in self.casts:
                    self.casts.add(name)
                    yield helper.make_node(
                        "Cast", [name], [node.input[at]], f"{node.input[at]}.cast", to=kind
                    )
        if kind == TensorProto.FLOAT16:
            self.float16.update(node.output)
        yield node

    def _kind(self, node: NodeProto) -> int:
        """What the node computes in."""
        if node.name not in self.owners or node.op_type == _SUMS:
            return int(TensorProto.FLOAT)
        owner = self.owners[node.name]
        lowered = self.float16.issuperset(node.input) if owner is None else owner not in self.keep
        return int(TensorProto.FLOAT16 if lowered else TensorProto.FLOAT)

    def _store(self, name: str, kind: int) -> None:
        """Weights and biases of a float16 module, which no other module reads."""
        entry = self.stored[name]
        if kind == TensorProto.FLOAT16 and entry.data_type == TensorProto.FLOAT:
            with np.errstate(over="ignore"):  # the comparison will find what is infinite
                values = numpy_helper.to_array(entry).astype(np.float16)
            entry.CopyFrom(numpy_helper.from_array(values, name))


def _within(module: str, names: Sequence[str]) -> str | None:
    """Which of the names a module is, or is part of."""
    return next((name for name in names if f"{module}.".startswith(f"{name}.")), None)
