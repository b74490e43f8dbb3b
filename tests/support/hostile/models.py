"""Models that every command has to refuse: damaged, foreign, or made to do harm."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import onnx
from onnx import TensorProto, helper

from lits_runtime.model.bundled import bundled_model
from support.hostile.wire_tree import LENGTH, VARINT, Field, dump, first, hidden_tag, parse
from support.networks.tiny_models import TINY_METADATA, tiny_model

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


def with_labels(kind: str, constant: TensorProto, **attributes: Any) -> bytes:
    """The tiny model whose labels go through one more node with a constant."""

    def edit(model: Any) -> None:
        model.graph.node[-1].output[0] = "labels_before"
        model.graph.node.append(
            helper.make_node(kind, ["labels_before", constant.name], ["labels"], **attributes)
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
    carried = helper.make_tensor_value_info("carried", TensorProto.FLOAT, [])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["still"]),
            helper.make_node("Identity", ["carried"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("count", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            carried,
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("on", TensorProto.FLOAT, []),
        ],
    )
    return with_node("Loop", ["", "", "half"], body=body)


def function() -> bytes:
    def edit(model: Any) -> None:
        node = helper.make_node("Identity", ["a"], ["b"])
        opset = [helper.make_opsetid("", 18)]
        model.functions.append(helper.make_function("evil", "F", ["a"], ["b"], [node], opset))

    return edited(edit)


def rewritten(content: bytes, edit: Callable[[list[Field]], object]) -> bytes:
    """A valid file after an edit of how it is stored."""
    fields = parse(content)
    edit(fields)
    return dump(fields)


def hidden(content: bytes, message: str, number: int) -> bytes:
    """A file with a field that protobuf reads, and others take for one with a huge number."""

    def edit(fields: list[Field]) -> None:
        first(fields, message, number).tag = hidden_tag(number, LENGTH)

    return rewritten(content, edit)


def stored(message: str, number: int, **changes: Any) -> bytes:
    """The tiny model with its first such field stored in another form."""

    def edit(fields: list[Field]) -> None:
        for name, value in changes.items():
            setattr(first(fields, message, number), name, value)

    return rewritten(tiny_model(), edit)


def with_field(message: str, beside: int, *more: Field) -> bytes:
    """The tiny model with further fields behind the first such one."""

    def edit(fields: list[Field]) -> None:
        (place,) = [level for level in _levels(fields) if first(fields, message, beside) in level][
            :1
        ]
        at = place.index(first(fields, message, beside)) + 1
        place[at:at] = more

    return rewritten(tiny_model(), edit)


def _levels(fields: list[Field]) -> list[list[Field]]:
    inner = [field.value for field in fields if isinstance(field.value, list)]
    return [fields, *(level for value in inner for level in _levels(value))]


def branch() -> bytes:
    constant = helper.make_tensor("inner", TensorProto.FLOAT, [1], [1])
    graph = subgraph(helper.make_node("Constant", [], ["inner"], value=constant))

    def edit(model: Any) -> None:
        model.graph.initializer.append(tensor("yes", TensorProto.BOOL, [], b"\x01"))
        model.graph.node.append(
            helper.make_node("If", ["yes"], ["more"], then_branch=graph, else_branch=graph)
        )

    return edited(edit)


def input_with_default() -> bytes:
    return with_tensor(tensor("slab", TensorProto.FLOAT, [1, 1, 1], bytes(4)))


def _frozen(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 512


def _rename(model: Any) -> None:
    model.graph.node[0].input[0] = model.graph.input[0].name = "scan"


def _set_output_type(model: Any) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64


def _cycle(model: Any) -> None:
    model.graph.node[0].input[0] = "logits"


def flipped(content: bytes, at: int, bit: int = 0) -> bytes:
    return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


def beyond_probability() -> bytes:
    def edit(model: Any) -> None:
        model.graph.node[2].output[0] = "before"
        model.graph.node[3].input[0] = "before"
        model.graph.node.insert(3, helper.make_node("Add", ["before", "half"], ["probability"]))

    return edited(edit)


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
    "a million parts": lambda: with_tensor(tensor("w", TensorProto.INT8, [1] * 1_000_000, b"1")),
    "another input": lambda: edited(_rename),
    "another type of labels": lambda: edited(_set_output_type),
    "unknown operator": lambda: with_node("Frobnicate", ["slab"]),
    "cycle": lambda: edited(_cycle),
    "newer opset": lambda: edited(lambda model: setattr(model.opset_import[0], "version", 999)),
    "newer IR": lambda: edited(lambda model: setattr(model, "ir_version", 99)),
    "fails when run": lambda: with_labels(
        "Gather", helper.make_tensor("more", TensorProto.INT64, [5], [10**6] * 5)
    ),
    "labels of another shape": lambda: with_labels(
        "Concat", tensor("more", TensorProto.UINT8, [1, 7, 8], bytes(56)), axis=0
    ),
    "labels without meaning": lambda: with_labels(
        "Max", helper.make_tensor("more", TensorProto.UINT8, [], [7])
    ),
    "a label that was not promised": lambda: tiny_model(
        {"classes": ["lesion"], "label_values": [2], "thresholds": [0.5]}
    ),
    **{
        f"threshold of {value}": partial(tiny_model, {"thresholds": [0.5, value]})
        for value in (float("nan"), float("inf"), -0.5, 0, 1.5, 10**30, True, "0.5", None)
    },
    "one class twice": lambda: tiny_model({"classes": ["liver", "liver"]}),
    "one label value twice": lambda: tiny_model({"label_values": [1, 1]}),
    "working size of a million": lambda: tiny_model({"working_size": 10**6}),
    "transforms of a wrong kind": lambda: tiny_model({"settings": {"tta": 5}}),
    "a licence of a megabyte": lambda: tiny_model({"licence": "x" * 10**6}),
    "one metadata key twice": lambda: described(
        json.dumps(TINY_METADATA).replace("{", '{"licence": "MIT", ', 1)
    ),
    "a number of 4000 digits": lambda: described(
        json.dumps(TINY_METADATA).replace('"opset": 18', f'"opset": {"9" * 4000}')
    ),
    "another opset in its metadata": lambda: tiny_model({"opset": 20}),
    "another metadata entry": lambda: edited(
        lambda m: m.metadata_props.add(key="ort_config", value="{}")
    ),
    # Seen by protobuf and not by a reader that keeps more than 32 bits of a tag:
    "hidden loop": lambda: hidden(endless_loop(), "AttributeProto", 6),
    "hidden branch": lambda: hidden(branch(), "AttributeProto", 6),
    "hidden external data": lambda: hidden(
        with_tensor(external("/etc/hostname")), "TensorProto", 13
    ),
    "hidden function": lambda: hidden(function(), "ModelProto", 25),
    "hidden opset": lambda: hidden(tiny_model(), "ModelProto", 8),
    # Stored as no writer does:
    "a number with a superfluous byte": lambda: stored("ModelProto", 1, over=1),
    "a length with superfluous bytes": lambda: stored("NodeProto", 4, over=3),
    "a tag with a superfluous byte": lambda: stored("ModelProto", 1, tag=b"\x88\x00"),
    "a length that ends elsewhere": lambda: stored("ModelProto", 7, lie=2),
    "a number of 70 bits": lambda: stored("ModelProto", 1, value=1 << 69),
    "a type beyond 32 bits": lambda: stored("TensorProto", 2, value=(1 << 32) + 7),
    "an IR version beyond 32 bits": lambda: stored("ModelProto", 1, value=(1 << 32) + 10),
    "a field of number 0": lambda: with_field("NodeProto", 4, Field(0, VARINT, 1)),
    "a field of an unknown number": lambda: with_field("NodeProto", 4, Field(6000, LENGTH, b"x")),
    "a field of another wire type": lambda: with_field("NodeProto", 4, Field(4, VARINT, 1)),
    "a group": lambda: with_field("NodeProto", 4, Field(4, 3, b""), Field(4, 4, b"")),
    "an operator twice in a node": lambda: with_field(
        "NodeProto", 4, Field(4, LENGTH, b"Identity")
    ),
    "fields in another order": lambda: rewritten(tiny_model(), lambda fields: fields.reverse()),
    "two values of one dimension": lambda: with_field("Dimension", 2, Field(1, VARINT, 3)),
    "a dimension without value": lambda: stored("TensorShapeProto", 1, value=[]),
    "data in two ways": lambda: with_field("TensorProto", 8, Field(9, LENGTH, bytes(8))),
    "an attribute in two ways": lambda: with_field("AttributeProto", 1, Field(2, 5, bytes(4))),
    "dimensions in a packed list": lambda: stored("TensorProto", 1, kind=LENGTH, value=b"\x01"),
    "a name that is not UTF-8": lambda: stored("NodeProto", 2, value=b"ab\xff"),
    "a name with a NUL": lambda: stored("NodeProto", 2, value=b"chan\x00nel"),
    "a name of 100 kB": lambda: stored("GraphProto", 2, value=b"x" * 100_000),
    "text for people": lambda: edited(lambda model: setattr(model, "doc_string", "read me")),
    "quantisation annotation": lambda: edited(
        lambda model: model.graph.quantization_annotation.add(tensor_name="half")
    ),
    "a label beyond 8 bits": lambda: with_tensor(
        TensorProto(name="w", data_type=TensorProto.UINT8, dims=[1], int32_data=[300])
    ),
    "integers listed as floats": lambda: with_tensor(
        TensorProto(name="w", data_type=TensorProto.INT64, dims=[1], float_data=[1])
    ),
    "doubles": lambda: with_tensor(tensor("w", TensorProto.DOUBLE, [1], bytes(8))),
    "an attribute twice": lambda: edited(
        lambda model: model.graph.node[4].attribute.append(helper.make_attribute("to", 1))
    ),
    "an unknown attribute": lambda: edited(
        lambda model: model.graph.node[4].attribute.append(helper.make_attribute("saturate", 0))
    ),
    "an attribute of another type": lambda: edited(
        lambda model: (
            model.graph.node[5].attribute[0].CopyFrom(helper.make_attribute("keepdims", 0.0))
        )
    ),
    "an input with a default": input_with_default,
    "one name twice": lambda: with_tensor(tensor("half", TensorProto.FLOAT, [], bytes(4))),
    "an input of fixed size": lambda: edited(_frozen),
    "another output": lambda: edited(lambda m: m.graph.output.append(m.graph.output[0])),
    "an output that no node gives": lambda: edited(
        lambda model: model.graph.node[-1].output.__setitem__(0, "lost")
    ),
}
NEEDS_A_RUN = {
    *("fails when run", "labels of another shape", "labels without meaning"),
    "a label that was not promised",
}
"""Found only when ONNX Runtime runs the file."""
