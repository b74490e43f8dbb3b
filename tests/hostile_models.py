"""Models that no command may take: damaged, of others, or made to do harm."""

import json
from collections.abc import Callable
from typing import Any

import onnx
from conftest import TINY_METADATA, tiny_model
from onnx import TensorProto, helper

from lits_runtime.segmenter import bundled_model

ESCAPES = "\x1b[31mred\nsecond line\u202e"


def edited(edit: Callable[[Any], object]) -> bytes:
    """The tiny model after an edit of its protobuf."""
    model = onnx.load_from_string(tiny_model())
    edit(model)
    return bytes(model.SerializeToString())


def described(text: str) -> bytes:
    """The tiny model with another metadata text."""
    return edited(lambda model: helper.set_model_props(model, {"lits": text}))


def external(location: str, **more: int) -> TensorProto:
    tensor = helper.make_tensor("stolen", TensorProto.FLOAT, [1], [1])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "length": 4, **more}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def with_node(kind: str, inputs: list[str], **attributes: Any) -> bytes:
    """The tiny model with one more node, whose output is not used."""
    return edited(
        lambda model: model.graph.node.append(
            helper.make_node(kind, inputs, ["more"], **attributes)
        )
    )


def with_labels(kind: str, constant: TensorProto) -> bytes:
    """The tiny model whose labels go through one more node with a constant."""

    def edit(model: Any) -> None:
        model.graph.node[-1].output[0] = "labels_before"
        model.graph.node.append(
            helper.make_node(kind, ["labels_before", constant.name], ["labels"])
        )
        model.graph.initializer.append(constant)

    return edited(edit)


def subgraph(*nodes: Any, initializer: TensorProto | None = None) -> Any:
    output = helper.make_tensor_value_info("inner", TensorProto.FLOAT, [1])
    return helper.make_graph(
        list(nodes), "inner", [], [output], [initializer] if initializer else []
    )


def tensor(name: str, kind: int, dims: list[int], raw: bytes = b"") -> TensorProto:
    """A tensor that need not hold what it declares."""
    made = TensorProto(name=name, data_type=kind, raw_data=raw)
    made.dims.extend(dims)
    return made


def with_tensor(made: TensorProto) -> bytes:
    return edited(lambda model: model.graph.initializer.append(made))


def endless_loop() -> bytes:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["still"])],
        "body",
        [
            helper.make_tensor_value_info("count", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("still", TensorProto.BOOL, [])],
    )
    return with_node("Loop", ["", ""], body=body)


def function() -> bytes:
    def edit(model: Any) -> None:
        node = helper.make_node("Identity", ["a"], ["b"])
        opset = [helper.make_opsetid("", 18)]
        model.functions.append(helper.make_function("evil", "F", ["a"], ["b"], [node], opset))

    return edited(edit)


def allocation() -> bytes:
    """Asks ONNX Runtime for 140 TB while it folds constants."""

    def edit(model: Any) -> None:
        model.graph.initializer.append(helper.make_tensor("huge", TensorProto.INT64, [1], [2**45]))
        model.graph.initializer.append(helper.make_tensor("last", TensorProto.INT64, [1], [0]))
        model.graph.node[0].input[0] = "sum"
        for at, node in enumerate(
            (
                helper.make_node("ConstantOfShape", ["huge"], ["zeros"]),
                helper.make_node("Gather", ["zeros", "last"], ["zero"]),
                helper.make_node("Add", ["slab", "zero"], ["sum"]),
            )
        ):
            model.graph.node.insert(at, node)

    return edited(edit)


def _rename(model: Any) -> None:
    model.graph.node[0].input[0] = model.graph.input[0].name = "scan"


def _set_output_type(model: Any) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64


def _cycle(model: Any) -> None:
    model.graph.node[0].input[0] = "logits"


def flipped(content: bytes, at: int, bit: int = 0) -> bytes:
    return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


BUNDLED = bundled_model().read_bytes()
NESTED = json.dumps(TINY_METADATA).replace('"training": {}', f'"training": {"[" * 50}{"]" * 50}')
HOSTILE_MODELS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"this is no model\n" * 9,
    "a gzip": lambda: b"\x1f\x8b\x08\x00" + bytes(99),
    "truncated": lambda: BUNDLED[: len(BUNDLED) // 2],
    "without its last byte": lambda: BUNDLED[:-1],
    "flipped bit in a length": lambda: flipped(BUNDLED, BUNDLED.index(b"lits-export") - 1, 6),
    "flipped bit in the first tag": lambda: flipped(BUNDLED, 0, 2),
    "flipped bit in dims": lambda: with_tensor(tensor("w", TensorProto.FLOAT, [5], bytes(16))),
    "no metadata": lambda: edited(lambda model: model.ClearField("metadata_props")),
    "metadata not JSON": lambda: described("{"),
    "metadata nested without end": lambda: described("[" * 100_000),
    "metadata nested deep": lambda: described(NESTED),
    "metadata of wrong kinds": lambda: tiny_model({"classes": 5, "thresholds": ["a", "b"]}),
    "metadata of a newer format": lambda: tiny_model({"format_version": 99}),
    "metadata with escapes": lambda: tiny_model({"orientation": ESCAPES}),
    "metadata of an unknown class": lambda: tiny_model({"classes": ["liver", "spleen"]}),
    "metadata twice": lambda: edited(lambda m: m.metadata_props.add(key="lits", value="{}")),
    "context of a million slices": lambda: tiny_model({"context_slices": 10**6}),
    "external data": lambda: with_tensor(external("owned")),
    "external data elsewhere": lambda: with_tensor(external("../../etc/passwd")),
    "external data in an attribute": lambda: with_node("Constant", [], value=external("owned")),
    "external data in memory": lambda: with_tensor(
        external("*/_ORT_MEM_ADDR_/*", offset=140_000_000_000_000)
    ),
    "external data in a subgraph": lambda: with_node(
        "If", ["half"], then_branch=subgraph(initializer=external("owned"))
    ),
    "endless loop": endless_loop,
    "foreign operator": lambda: with_node("Run", ["slab"], domain=f"evil{ESCAPES}"),
    "operator that reads files": lambda: with_node(
        "EPContext", ["slab"], domain="com.microsoft", embed_mode=0, ep_cache_context="/etc/passwd"
    ),
    "function": function,
    "sparse tensor": lambda: edited(lambda m: m.graph.sparse_initializer.add()),
    "tensor of 4 TB": lambda: with_tensor(tensor("w", TensorProto.FLOAT, [2**20, 2**20], b"1234")),
    "tensor of negative size": lambda: with_tensor(tensor("w", TensorProto.FLOAT, [-1])),
    "tensor of 99 dimensions": lambda: with_tensor(tensor("w", TensorProto.INT8, [1] * 99, b"1")),
    "tensor of strings": lambda: with_tensor(tensor("w", TensorProto.STRING, [0])),
    "two graphs": lambda: tiny_model() + edited(lambda m: m.ClearField("metadata_props")),
    "a million parts": lambda: tiny_model() + b"\x08\x01" * 1_000_000,
    "another input": lambda: edited(_rename),
    "another type of labels": lambda: edited(_set_output_type),
    "unknown operator": lambda: with_node("Frobnicate", ["slab"]),
    "cycle": lambda: edited(_cycle),
    "newer opset": lambda: edited(lambda model: setattr(model.opset_import[0], "version", 999)),
    "newer IR": lambda: edited(lambda model: setattr(model, "ir_version", 99)),
    "140 TB of zeros": allocation,
    "fails when run": lambda: with_labels(
        "Reshape", helper.make_tensor("more", TensorProto.INT64, [3], [7, 11, 13])
    ),
    "labels of another shape": lambda: with_labels(
        "Tile", helper.make_tensor("more", TensorProto.INT64, [3], [2, 1, 1])
    ),
    "labels without meaning": lambda: with_labels(
        "Max", helper.make_tensor("more", TensorProto.UINT8, [], [7])
    ),
}
NEEDS_A_RUN = {
    *("unknown operator", "cycle", "newer opset", "newer IR", "140 TB of zeros"),
    *("fails when run", "labels of another shape", "labels without meaning"),
}
"""What cannot be seen by looking into the file, but when ONNX Runtime takes it."""
