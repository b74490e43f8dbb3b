"""Models of a few kilobytes that would take gigabytes or minutes on any slab."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from support.hostile.models import edited

_CAST = {"to": TensorProto.INT64}


def computing(
    nodes: list[tuple[str, list[str], str, dict[str, Any]]],
    rank: int = 4,
    **constants: NDArray[Any],
) -> bytes:
    """The tiny model whose labels need the last of some more nodes.

    Args:
        nodes: operator, inputs, output and attributes of each.
        rank: of the last one's output.
        constants: stored tensors by name.
    """

    def edit(model: Any) -> None:
        graph = model.graph
        graph.node[-1].output[0] = "labels_before"
        ends: list[tuple[str, list[str], str, dict[str, Any]]] = [
            ("ReduceMin", [nodes[-1][2], "every"], "least", {"keepdims": 0}),
            ("Cast", ["least"], "least_int", {"to": TensorProto.UINT8}),
            ("Add", ["labels_before", "least_int"], "labels", {}),
        ]
        for operator, inputs, output, attributes in (*nodes, *ends):
            graph.node.append(helper.make_node(operator, inputs, [output], **attributes))
        constants["every"] = np.arange(rank)
        for name, values in constants.items():
            graph.initializer.append(numpy_helper.from_array(values, name))

    return edited(edit)


def ints(*values: int) -> NDArray[np.int64]:
    """A list of int64."""
    return np.array(values, np.int64)


def window(kernel: int, stride: int = 1, pad: int = 0) -> dict[str, Any]:
    """Attributes of a convolution as the exporter writes them."""
    return {
        "group": 1,
        "auto_pad": "NOTSET",
        "strides": [stride] * 2,
        "pads": [pad] * 4,
        "dilations": [1, 1],
        "kernel_shape": [kernel] * 2,
    }


RESIZE = {
    "mode": "linear",
    "coordinate_transformation_mode": "half_pixel",
    "antialias": 0,
    "exclude_outside": 0,
    "keep_aspect_ratio_policy": "stretch",
    "nearest_mode": "floor",
    "cubic_coeff_a": -0.75,
    "extrapolation_value": 0.0,
}
ONES = np.ones((1, 1, 1, 1), np.float32)


def resized(side: int) -> list[tuple[str, list[str], str, dict[str, Any]]]:
    """The slab at a fixed size, as (n, 1, side, side); needs a constant `sides`."""
    return [
        ("Unsqueeze", ["slab", "axis"], "channel1", {}),
        ("Shape", ["channel1"], "leading", {"start": 0, "end": 2}),
        ("Concat", ["leading", "sides"], "sizes", {"axis": 0}),
        ("Resize", ["channel1", "", "", "sizes"], "x0", RESIZE),
    ]


def chain(operator: str, count: int, *more: str, **attributes: Any) -> list[Any]:
    """x0 to x1 to x2, each through the same operator with the same other inputs."""
    return [
        (operator, [f"x{i}", *(m.format(i) for m in more)], f"x{i + 1}", attributes)
        for i in range(count)
    ]


def held_until_the_end() -> bytes:
    """Twelve large values, of which a reader in file order would need one at a time."""
    nodes = resized(2048)
    for i in range(12):
        nodes += [
            ("Add", ["x0", "one"], f"large{i}", {}),
            ("ReduceMax", [f"large{i}", "plane"], f"high{i}", {"keepdims": 0}),
            ("ReduceMin", [f"large{i}", "plane"], f"low{i}", {"keepdims": 0}),
            ("Add", [f"highs{i - 1}" if i else "one", f"high{i}"], f"highs{i}", {}),
            ("Add", [f"lows{i - 1}" if i else "one", f"low{i}"], f"lows{i}", {}),
        ]
    nodes.append(("Add", ["lows11", "highs11"], "both", {}))
    return computing(nodes, rank=2, sides=ints(2048, 2048), one=np.ones(1, "f4"), plane=ints(2, 3))


def claimed(make: Callable[[Any], Any], size: int = 800_000_000) -> bytes:
    """A size that the file declares for a value, and that ONNX Runtime would believe."""
    model = onnx.load_from_string(
        computing(
            [
                ("Shape", ["probability"], "dims", {"start": 1, "end": 2}),
                ("Expand", ["ones", "dims"], "x", {}),
            ],
            ones=ONES,
        )
    )
    make(model.graph).type.tensor_type.shape.dim[1].dim_value = size
    return bytes(model.SerializeToString())


def _described(graph: Any) -> Any:
    dims: list[str | int | None] = ["n", 2, "height", "width"]
    graph.value_info.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, dims))
    return graph.value_info[0]


COSTLY_MODELS: dict[str, Callable[[], bytes]] = {
    "ConstantOfShape": lambda: computing(
        [("ConstantOfShape", ["dims"], "x", {})],
        dims=ints(30_000, 30_000),
        rank=2,
    ),
    "Expand": lambda: computing(
        [("Expand", ["ones", "dims"], "x", {})], ones=ONES, dims=ints(1, 1, 30_000, 30_000)
    ),
    "Range": lambda: computing(
        [("Range", ["from", "to", "by"], "x", {})],
        **{"from": np.array(0), "to": np.array(800_000_000), "by": np.array(1)},
        rank=1,
    ),
    "Range in tiny steps": lambda: computing(
        [("Range", ["from", "to", "by"], "x", {})],
        **{
            "from": np.array(0, np.float32),
            "to": np.array(1, np.float32),
            "by": np.array(1e-9, np.float32),
        },
        rank=1,
    ),
    "Resize": lambda: computing(
        [
            ("Unsqueeze", ["slab", "axis"], "channel1", {}),
            ("Resize", ["channel1", "", "", "sizes"], "x", RESIZE),
        ],
        sizes=ints(1, 1, 30_000, 30_000),
    ),
    "Resize by scales": lambda: computing(
        [
            ("Unsqueeze", ["slab", "axis"], "channel1", {}),
            ("Resize", ["channel1", "", "scales"], "x", RESIZE),
        ],
        scales=np.array([1, 1, 5000, 5000], np.float32),
    ),
    "600 MatMuls": lambda: computing(
        [
            ("Expand", ["ones", "dims"], "x0", {}),
            *chain("MatMul", 600, "x0"),
        ],
        ones=np.ones((1, 1), np.float32),
        dims=ints(3000, 3000),
        rank=2,
    ),
    "Concat doubles": lambda: computing(
        [("Identity", ["slab"], "x0", {}), *chain("Concat", 40, "x{}", axis=0)],
        rank=3,
    ),
    "a slice for every row": lambda: computing(
        [
            ("Unsqueeze", ["slab", "last"], "column", {}),
            ("Unsqueeze", ["slab", "axis"], "row", {}),
            ("Add", ["column", "row"], "x", {}),
        ],
        last=ints(3),
    ),
    "Gather of one row a thousand times": lambda: computing(
        [("Gather", ["slab", "again"], "x", {"axis": 1})],
        again=np.zeros(200_000, np.int64),
        rank=3,
    ),
    "Conv to 4096 channels": lambda: computing(
        [*resized(512), ("Conv", ["x0", "weight"], "x", window(1))],
        sides=ints(512, 512),
        weight=np.ones((4096, 1, 1, 1), np.float32),
    ),
    "Conv pads and pads": lambda: computing(
        [*resized(512), *chain("Conv", 900, "weight", **window(1, pad=8))],
        sides=ints(512, 512),
        weight=ONES,
    ),
    "Conv of a huge kernel": lambda: computing(
        [*resized(512), ("Conv", ["x0", "weight"], "x", window(255, pad=127))],
        sides=ints(512, 512),
        weight=np.ones((1, 1, 255, 255), np.float32),
    ),
    "Conv on slices of any size": lambda: computing(
        [
            ("Unsqueeze", ["slab", "axis"], "x0", {}),
            *chain("Conv", 3, "weight", **window(3, pad=1)),
        ],
        weight=np.ones((1, 1, 3, 3), np.float32),
    ),
    "ConvTranspose quadruples": lambda: computing(
        [*resized(64), *chain("ConvTranspose", 9, "weight", **window(4, 4), output_padding=[0, 0])],
        sides=ints(64, 64),
        weight=np.ones((1, 1, 4, 4), np.float32),
    ),
    "3000 sums of one large value": lambda: computing(
        [
            *resized(2048),
            *(("ReduceSum", ["x0", "plane"], f"sum{i}", {"keepdims": 0}) for i in range(3000)),
            ("Add", ["sum0", "sum2999"], "x", {}),
        ],
        sides=ints(2048, 2048),
        plane=ints(2, 3),
        rank=2,
    ),
    "large values held until the end": held_until_the_end,
    "constants that are kept": lambda: computing(
        [
            node
            for i in range(20)
            for node in (
                ("Expand", ["ones", "dims"], f"c{i}", {}),
                ("ReduceMax", [f"c{i}", "plane"], f"high{i}", {"keepdims": 0}),
                ("Add", [f"sum{i - 1}" if i else "zero", f"high{i}"], f"sum{i}", {}),
            )
        ],
        rank=2,
        ones=ONES,
        zero=np.zeros(1, np.float32),
        dims=ints(1, 1, 2048, 2048),
        plane=ints(2, 3),
    ),
    "constants made of shapes": lambda: computing(
        [
            *resized(2048),
            ("Shape", ["x0"], "dims", {"start": 2, "end": 4}),
            *(("Expand", [f"one{i}", "dims"], f"c{i}", {}) for i in range(20)),
            ("Add", ["c0", "c19"], "x", {}),
        ],
        rank=2,
        sides=ints(2048, 2048),
        **{f"one{i}": np.full((1, 1), i, np.float32) for i in range(20)},
    ),
    "a size from the voxels": lambda: computing(
        [
            ("ReduceMax", ["slab", "all"], "high", {"keepdims": 0}),
            ("Cast", ["high"], "count", _CAST),
            ("Unsqueeze", ["count", "zero"], "dims", {}),
            ("Expand", ["ones", "dims"], "x", {}),
        ],
        all=ints(0, 1, 2),
        zero=ints(0),
        ones=ONES,
    ),
    "a size that only one matrix has": lambda: computing(
        [
            ("Shape", ["slab"], "shape", {"start": 1, "end": 2}),
            ("Equal", ["shape", "usual"], "is_usual", {}),
            ("Where", ["is_usual", "usual", "huge"], "dims", {}),
            ("Expand", ["ones", "dims"], "x", {}),
        ],
        usual=ints(512),
        huge=ints(800_000_000),
        ones=ONES,
    ),
    "a size that overflows": lambda: computing(
        [
            ("Shape", ["slab"], "x0", {"start": 1, "end": 2}),
            *chain("Sub", 3, "much"),
            ("Expand", ["ones", "x3"], "x", {}),
        ],
        much=ints(2**62),
        ones=ONES,
    ),
    "a size that an output claims": lambda: claimed(lambda graph: graph.output[1]),
    "a size that a description claims": lambda: claimed(_described),
    "the product of two sizes": lambda: computing(
        [
            ("Shape", ["slab"], "rows", {"start": 1, "end": 2}),
            ("Mul", ["rows", "rows"], "square", {}),
            ("Expand", ["ones", "square"], "x", {}),
        ],
        ones=ONES,
    ),
    "dimensions squeezed away unseen": lambda: computing(
        [("Slice", ["slab", "from", "to"], "part", {}), ("Squeeze", ["part"], "x", {})],
        **{"from": ints(0), "to": ints(1)},
        rank=2,
    ),
    "Reshape to anything": lambda: computing(
        [("Reshape", ["slab", "dims"], "x", {})],
        dims=ints(-1, 1),
        rank=2,
    ),
    "100,000 nodes": lambda: computing(
        [("Identity", ["slab"], "x0", {}), *chain("Relu", 100_000)], rank=3
    ),
    "ten dimensions": lambda: computing(
        [("Identity", ["slab"], "x0", {}), *chain("Unsqueeze", 7, "axis")],
        rank=10,
    ),
    "an empty tensor of 2**62": lambda: computing(
        [("Shape", ["none"], "shape", {}), ("Expand", ["ones", "shape"], "x", {})],
        none=np.zeros((0, 2**40), np.float32),
        ones=ONES,
    ),
    "Tile": lambda: computing(
        [("Tile", ["slab", "times"], "x", {})], times=ints(1000, 10, 10), rank=3
    ),
    "Pad": lambda: computing(
        [("Pad", ["slab", "pads"], "x", {})],
        pads=ints(0, 0, 0, 0, 30_000, 30_000),
        rank=3,
    ),
}
"""The first ones took 2.6 to 3.3 GB, or minutes, when the check did not look at sizes."""
