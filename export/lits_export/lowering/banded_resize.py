"""The resize of the slab in bands, without most of its products with zeros.

A line of the result is a mean over a few lines of the picture, so that most weights of the two
matrix products are zero: a quarter of the result needs little more than a quarter of the picture.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

BANDS = 4
"""Into which the lines of the result are cut.

On two CPU cores, the whole network took 3 to 8 % less time with 4 than with 1. With 8 it took some
5 % less again, but `lits-infer` 12 MB more memory.
"""
_MARGIN = 2
"""Lines that a band needs on either side, beside those of one line of the result."""


def in_bands(model: onnx.ModelProto, products: Sequence[str], size: int) -> None:
    """Cut a resize into bands.

    Args:
        model: changed in place; the size of the pictures may be symbolic.
        products: names of two MatMul nodes: weights (size, old) @ pictures, and what this gives
            @ weights (old, size).
        size: lines of the result in either direction, a multiple of `BANDS`.
    """
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        if node.name in products:
            nodes += _Bands(model.graph, node, size).nodes(by_rows=node.name == products[0])
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


class _Bands:
    """What takes the place of one product, under names that begin with its own."""

    def __init__(self, graph: onnx.GraphProto, product: NodeProto, size: int) -> None:
        self._graph, self._product = graph, product
        self._edges = [size * band // BANDS for band in range(BANDS + 1)]
        """Of the bands, in lines of the result."""
        self._nodes: list[NodeProto] = []

    def nodes(self, by_rows: bool) -> list[NodeProto]:
        """Bands of the weights times the lines that each needs, side by side."""
        left, right = self._product.input
        weights, picture = (left, right) if by_rows else (right, left)
        new_axis, old_axis = (0, 1) if by_rows else (1, 0)
        weights_axis = self._constant("weights_axis", [old_axis])
        picture_axis = self._constant("axis", [-2 if by_rows else -1])
        starts, stops = self._limits(weights, weights_axis)
        results = []
        for band in range(BANDS):
            own_lines = range(self._edges[band], self._edges[band + 1])
            own_index = self._constant(f"own_lines{band}", own_lines)
            at = self._constant(f"band{band}", [band])
            start = self._add("Gather", f"start{band}", starts, at)
            stop = self._add("Gather", f"stop{band}", stops, at)
            # Not Slice, of whose result the runtime's check of costs knows no size.
            own = self._add("Gather", f"own{band}", weights, own_index, axis=new_axis)
            needed = self._add("Slice", f"weights{band}", own, start, stop, weights_axis)
            lines = self._add("Slice", f"lines{band}", picture, start, stop, picture_axis)
            factors = (needed, lines) if by_rows else (lines, needed)
            results.append(self._add("MatMul", f"product{band}", *factors))
        name, axis = self._product.name, -2 if by_rows else -1
        joined = helper.make_node("Concat", results, self._product.output, name=name, axis=axis)
        return [*self._nodes, joined]

    def _limits(self, weights: str, weights_axis: str) -> tuple[str, str]:
        """The first line that each band needs, and one beyond the last: int64 (BANDS,)."""
        shape = self._add("Shape", "shape", weights)
        old = self._add("Gather", "old", shape, weights_axis)
        size = self._constant("size", self._edges[-1:])
        scale = self._add("Div", "scale", old, size)
        margin = self._add("Add", "margin", scale, self._constant("least_margin", [_MARGIN]))
        limits = []
        for name, edges in (("low", self._edges[:-1]), ("high", self._edges[1:])):
            products = self._add("Mul", f"{name}_products", old, self._constant(name, edges))
            limits.append(self._add("Div", f"{name}_lines", products, size))
        early = self._add("Sub", "early", limits[0], margin)
        starts = self._add("Max", "starts", early, self._constant("zero", [0]))
        return starts, self._add("Add", "stops", limits[1], margin)  # Slice ends at the last line

    def _constant(self, name: str, values: Sequence[int]) -> str:
        full = f"{self._product.name}.{name}"
        tensor = numpy_helper.from_array(np.array([*values], np.int64), full)
        self._graph.initializer.append(tensor)
        return full

    def _add(self, kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        full = f"{self._product.name}.{name}"
        self._nodes.append(helper.make_node(kind, inputs, [full], name=full, **attributes))
        return full
