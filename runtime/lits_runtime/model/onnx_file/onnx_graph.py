"""The parts of an ONNX model, read without onnx; refuses what lits-export does not write."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from lits_runtime.messages import brief
from lits_runtime.model.onnx_file.onnx_messages import (
    ATTRIBUTE,
    DIMENSION,
    ELEMENTS,
    GRAPH,
    MODEL,
    NODE,
    OPSET,
    PROPERTY,
    SHAPE,
    TENSOR_TYPE,
    TYPE,
    VALUE,
)
from lits_runtime.model.onnx_file.protobuf import (
    Message,
    WireReader,
    as_bytes,
    as_integer,
    as_name,
    as_text,
    damaged,
    refuse,
    signed,
)
from lits_runtime.model.onnx_file.stored_tensors import MAX_RANK, Numbers, Tensor, read_tensor

MAX_FIELDS = 1_000_000
"""A hundred times as many as in the bundled model; read in about a second."""
MAX_METADATA_BYTES = 2**24
IR_VERSIONS = range(8, 12)
OPSETS = {"": 18}

AttributeValue = int | float | bytes | tuple[int, ...]
_ATTRIBUTE_FIELD = {1: 2, 2: 3, 3: 4, 7: 8}
"""Where an attribute of each type (FLOAT, INT, STRING, INTS) has its value."""


@dataclass(frozen=True)
class Value:
    """An input or output of the graph."""

    name: str
    type: str
    dims: tuple[int | str, ...]
    """Numbers, or names of free sizes."""

    def __str__(self) -> str:
        return f"{self.name} {self.type} [{', '.join(map(str, self.dims))}]"


@dataclass(frozen=True)
class Node:
    """One operation."""

    operator: str
    inputs: tuple[str, ...]
    """Names; "" for one that is left out."""
    outputs: tuple[str, ...]
    attributes: dict[str, AttributeValue]


class GraphReader:
    """Reads all messages of a model (ModelProto) in one pass.

    Raises:
        ModelError: damaged, or refused; the message says what was found.
    """

    def __init__(self, content: bytes) -> None:
        self.ir_version, self.producer = 0, ""
        self.opsets: dict[str, int] = {}
        self.properties: dict[str, str] = {}
        self.nodes: list[Node] = []
        self.tensors: list[Tensor] = []
        self.constants: dict[str, Numbers] = {}
        """Values of the small tensors of int64 and float32."""
        self.inputs: list[Value] = []
        self.outputs: list[Value] = []
        self.between: list[Value] = []
        """What the file declares about values between nodes."""
        self._wire = WireReader(MAX_FIELDS)
        self._attributes: dict[bytes, tuple[str, AttributeValue]] = {}
        graphs = 0
        for number, value in self._fields(memoryview(content), MODEL):
            if number == 1:
                self.ir_version = as_integer(value)
            elif number == 2:
                self.producer = as_name(value)
            elif number == 3:
                as_name(value)
            elif number == 7:
                self._read_graph(value)
                graphs += 1
            elif number == 8:
                self._read_opset(value)
            elif number == 14:
                self._read_property(value)
        if graphs != 1:
            raise damaged(f"it holds {graphs} graphs")
        if self.opsets != OPSETS or self.ir_version not in IR_VERSIONS:
            refuse(f"opset {brief(self.opsets)} in IR {self.ir_version}")

    def _fields(
        self, value: int | memoryview, message: Message
    ) -> Iterator[tuple[int, int | memoryview]]:
        return self._wire.fields(as_bytes(value), message)

    def _read_graph(self, graph: int | memoryview) -> None:
        values = {11: self.inputs, 12: self.outputs, 13: self.between}
        for number, value in self._fields(graph, GRAPH):
            if number == 1:
                self.nodes.append(self._read_node(value))
            elif number == 5:
                tensor, numbers = read_tensor(self._wire, as_bytes(value))
                self.tensors.append(tensor)
                if numbers is not None:
                    self.constants[tensor.name] = numbers
            elif number == 2:
                as_name(value)
            elif number in values:
                values[number].append(self._read_value(value))

    def _read_node(self, node: int | memoryview) -> Node:
        operator, domain = "", ""
        inputs, outputs = list[str](), list[str]()
        attributes: dict[str, AttributeValue] = {}
        for number, value in self._fields(node, NODE):
            if number == 1:
                inputs.append(as_name(value))
            elif number == 2:
                outputs.append(as_name(value))
            elif number == 3:
                as_name(value)
            elif number == 4:
                operator = as_name(value)
            elif number == 5:
                name, setting = self._read_attribute(as_bytes(value))
                if name in attributes:
                    refuse(f"two attributes {brief(name)!r} of one {brief(operator)}")
                attributes[name] = setting
            elif number == 7:
                domain = as_text(value)
        if domain:
            refuse(f"the operator {brief(operator)!r} of {brief(domain)!r}")
        return Node(operator, tuple(inputs), tuple(outputs), attributes)

    def _read_attribute(self, attribute: memoryview) -> tuple[str, AttributeValue]:
        content = bytes(attribute)
        if (known := self._attributes.get(content)) is not None:
            self._wire.spend(1)
            return known  # all convolutions share the same few attributes
        name, kind, ints = "", 0, list[int]()
        single: dict[int, AttributeValue] = {}
        for number, value in self._fields(attribute, ATTRIBUTE):
            if number == 1:
                name = as_name(value)
            elif number == 20:
                kind = as_integer(value)
            elif number == 8:
                ints.append(signed(as_integer(value)))
            elif number == 2:
                single[2] = struct.unpack("<f", as_integer(value).to_bytes(4, "little"))[0]
            else:
                single[number] = signed(value) if isinstance(value, int) else bytes(value)
        found = {*single, *([8] if ints else [])}
        wanted = _ATTRIBUTE_FIELD.get(kind)
        if wanted is None or (found != {wanted} and (wanted, found) != (8, set())):
            raise damaged(f"the attribute {brief(name)!r} of type {kind} in fields {sorted(found)}")
        self._attributes[content] = name, tuple(ints) if wanted == 8 else single[wanted]
        return self._attributes[content]

    def _read_value(self, message: int | memoryview) -> Value:
        name, kind, dims = "", -1, list[int | str]()
        for number, value in self._fields(message, VALUE):
            if number == 1:
                name = as_name(value)
            else:
                kind, dims = self._read_type(value)
        if kind not in ELEMENTS:
            refuse(f"the value {brief(name)!r}, a tensor of type {kind}")
        return Value(name, ELEMENTS[kind][0], tuple(dims))

    def _read_type(self, message: int | memoryview) -> tuple[int, list[int | str]]:
        kind, dims, shapes = -1, list[int | str](), 0
        for _, tensor_type in self._fields(message, TYPE):
            for number, value in self._fields(tensor_type, TENSOR_TYPE):
                if number == 1:
                    kind = as_integer(value)
                else:
                    shapes += 1
                    dims = [self._read_size(size) for _, size in self._fields(value, SHAPE)]
        if shapes != 1 or len(dims) > MAX_RANK:
            raise damaged(f"{shapes} shapes of {len(dims)} dimensions in a ValueInfoProto")
        return kind, dims

    def _read_size(self, message: int | memoryview) -> int | str:
        sizes = [value for _, value in self._fields(message, DIMENSION)]
        if len(sizes) != 1:
            raise damaged(f"a dimension of {len(sizes)} sizes")
        size = signed(sizes[0]) if isinstance(sizes[0], int) else as_name(sizes[0])
        if size == "" or (isinstance(size, int) and size < 0):
            raise damaged(f"a dimension of size {size!r}")
        return size

    def _read_opset(self, message: int | memoryview) -> None:
        fields = dict(self._fields(message, OPSET))
        domain = as_text(fields.get(1, memoryview(b"")))
        if domain in self.opsets:
            refuse(f"two opsets of {brief(domain)!r}")
        self.opsets[domain] = as_integer(fields.get(2, 0))

    def _read_property(self, message: int | memoryview) -> None:
        fields = dict(self._fields(message, PROPERTY))
        key, text = (as_text(fields.get(number, memoryview(b""))) for number in (1, 2))
        if len(text) > MAX_METADATA_BYTES:
            raise damaged(f"metadata of {len(text)} characters")
        if key in self.properties:
            refuse(f"two metadata entries {brief(key)!r}")
        self.properties[key] = text
