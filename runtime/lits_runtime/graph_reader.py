"""The parts of an ONNX model, read without onnx; refuses what lits-export does not write.

Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import Any, NoReturn

from lits_runtime.errors import ModelError
from lits_runtime.names import brief
from lits_runtime.wire import WireReader, count_varints, damaged, packed_varints, signed

MAX_FIELDS = 1_000_000
"""A hundred times what the bundled model has; read in about a second."""
MAX_RANK = 16
MAX_METADATA_BYTES = 2**24
DOMAINS = ("", "ai.onnx")
MICROSOFT_OPERATORS = ("QuantizeLinear", "DequantizeLinear")
"""Of com.microsoft, whose others may read files (EPContext)."""
ELEMENTS = {
    1: ("float32", 4),
    2: ("uint8", 1),
    3: ("int8", 1),
    4: ("uint16", 2),
    5: ("int16", 2),
    6: ("int32", 4),
    7: ("int64", 8),
    9: ("bool", 1),
    10: ("float16", 2),
    11: ("float64", 8),
    12: ("uint32", 4),
    13: ("uint64", 8),
}
"""TensorProto.DataType: name and bytes of an element."""


@dataclass(frozen=True)
class Tensor:
    """A stored tensor."""

    name: str
    type: str
    dims: tuple[int, ...]
    elements: int


@dataclass(frozen=True)
class Value:
    """An input or output of the graph."""

    name: str
    type: str
    dims: tuple[int | str, ...]
    """Numbers, or names of sizes that are free."""

    def __str__(self) -> str:
        return f"{self.name} {self.type} [{', '.join(map(str, self.dims))}]"


class GraphReader:
    """One pass over all messages of a model (ModelProto), which fills the attributes.

    Raises:
        ModelError: damaged, or refused; the message says what was found.
    """

    def __init__(self, content: bytes) -> None:
        self.ir_version, self.producer = 0, ""
        self.opsets: dict[str, int] = {}
        self.properties: dict[str, str] = {}
        self.operators: Counter[str] = Counter()
        self.tensors: list[Tensor] = []
        self.inputs: list[Value] = []
        self.outputs: list[Value] = []
        self._wire = WireReader(MAX_FIELDS)
        self._graphs = 0
        for number, value in self._wire.fields(memoryview(content)):
            if number == 1:
                self.ir_version = _integer(value)
            elif number == 2:
                self.producer = _text(value)
            elif number == 7:
                self._read_graph(_message(value))
            elif number == 8:
                self._read_opset(_message(value))
            elif number == 14:
                self._read_property(_message(value))
            elif number == 20:
                _refuse("training graphs")
            elif number == 25:
                _refuse("functions")
        if self._graphs != 1:
            raise damaged(f"it holds {self._graphs} graphs")

    def _read_graph(self, message: memoryview) -> None:
        self._graphs += 1
        for number, value in self._wire.fields(message):
            if number == 1:
                self._read_node(_message(value))
            elif number == 5:
                self._read_tensor(_message(value))
            elif number == 11:
                self.inputs.append(self._read_value(_message(value)))
            elif number == 12:
                self.outputs.append(self._read_value(_message(value)))
            elif number == 15:
                _refuse("sparse tensors")

    def _read_node(self, message: memoryview) -> None:
        operator, domain = "", ""
        for number, value in self._wire.fields(message):
            if number == 4:
                operator = _text(value)
            elif number == 5:
                self._read_attribute(_message(value))
            elif number == 7:
                domain = _text(value)
        microsoft = domain == "com.microsoft" and operator in MICROSOFT_OPERATORS
        if domain not in DOMAINS and not microsoft:
            _refuse(f"the operator {brief(operator)!r} of {brief(domain)!r}")
        self.operators[operator] += 1

    def _read_attribute(self, message: memoryview) -> None:
        for number, value in self._wire.fields(message):
            if number in (5, 10):
                self._read_tensor(_message(value))
            elif number in (6, 11):
                _refuse("a subgraph (Loop, If, Scan)")
            elif number in (22, 23):
                _refuse("sparse tensors")

    def _read_tensor(self, message: memoryview) -> None:
        name, kind, dims = "", 0, list[int]()
        raw, listed = 0, 0
        for number, value in self._wire.fields(message):
            if number == 1:
                dims += [value] if isinstance(value, int) else packed_varints(value, MAX_RANK)
            elif number == 2:
                kind = _integer(value)
            elif number == 8:
                name = _text(value)
            elif number == 9:
                raw += len(_message(value))
            elif number in _LISTED:
                listed += 1 if isinstance(value, int) else _LISTED[number](value)
            elif number == 13 or (number == 14 and value != 0):
                raise ModelError(
                    f"the tensor {brief(name)!r} lies in another file: lits-export writes one file"
                )
        if len(dims) > MAX_RANK:
            raise damaged(f"the tensor {brief(name)!r} of {len(dims)} dimensions")
        if kind not in ELEMENTS:
            _refuse(f"the tensor {brief(name)!r} of type {kind}")
        type_name, width = ELEMENTS[kind]
        sizes = tuple(signed(size) for size in dims)
        count = prod(sizes)
        if min(sizes, default=0) < 0 or (raw, listed) not in ((count * width, 0), (0, count)):
            raise damaged(
                f"the tensor {brief(name)!r} of {brief('x'.join(map(str, sizes)) or '1')} "
                f"{type_name} holds {raw + listed} {'bytes' if raw else 'elements'}"
            )
        self.tensors.append(Tensor(name, type_name, sizes, count))

    def _read_value(self, message: memoryview) -> Value:
        name, type_name, dims = "", "no tensor", list[int | str]()
        for number, value in self._wire.fields(message):
            if number == 1:
                name = _text(value)
            elif number == 2:
                for tensor_type in self._all(1, _message(value)):
                    for at, part in self._wire.fields(tensor_type):
                        if at == 1:
                            type_name = ELEMENTS.get(_integer(part), ("unknown", 0))[0]
                        elif at == 2:
                            dims = [self._read_size(d) for d in self._all(1, _message(part))]
        return Value(name, type_name, tuple(dims))

    def _read_size(self, message: memoryview) -> int | str:
        size: int | str = "?"
        for number, value in self._wire.fields(message):
            if number in (1, 2):
                size = signed(value) if isinstance(value, int) else _text(value)
        return size

    def _read_opset(self, message: memoryview) -> None:
        fields = dict(self._wire.fields(message))
        self.opsets[_text(fields.get(1, memoryview(b"")))] = _integer(fields.get(2, 0))

    def _read_property(self, message: memoryview) -> None:
        fields = dict(self._wire.fields(message))
        key, text = (_text(fields.get(number, memoryview(b""))) for number in (1, 2))
        if len(text) > MAX_METADATA_BYTES:
            raise damaged(f"metadata of {len(text)} characters")
        if key in self.properties:
            _refuse(f"two metadata entries {brief(key)!r}")
        self.properties[key] = text

    def _all(self, wanted: int, message: memoryview) -> list[memoryview]:
        return [_message(v) for number, v in self._wire.fields(message) if number == wanted]


_LISTED: dict[int, Any] = {
    4: lambda packed: len(packed) // 4,
    5: count_varints,
    7: count_varints,
    10: lambda packed: len(packed) // 8,
    11: count_varints,
}
"""TensorProto's lists of float, int32, int64, double and uint64: how many elements they hold."""


def _refuse(what: str) -> NoReturn:
    raise ModelError(f"the model holds {what}: refused, lits-export writes no such thing")


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise damaged(f"the number {value} in place of a message")
    return value


def _integer(value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise damaged("a message in place of a number")
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_message(value)).decode("utf-8", "backslashreplace")
