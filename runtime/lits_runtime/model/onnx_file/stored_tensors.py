"""Stored tensors: what they declare, checked against what they hold."""

import struct
from dataclasses import dataclass
from math import prod

from lits_runtime.messages import brief
from lits_runtime.model.onnx_file.onnx_messages import (
    ELEMENTS,
    ELSEWHERE,
    FLOAT32,
    INT64,
    LISTED_RANGE,
    TENSOR,
)
from lits_runtime.model.onnx_file.protobuf import (
    WireReader,
    as_bytes,
    as_integer,
    as_name,
    damaged,
    packed_varints,
    refuse,
    signed,
)

MAX_RANK = 8
_FEW = 16
"""Tensors of up to so many elements may be shapes, axes or indices: their values are read."""
_FLOAT_DATA, _INT32_DATA, _INT64_DATA, _RAW_DATA = 4, 5, 7, 9
"""Fields of TensorProto."""

Numbers = tuple[int | float, ...]


@dataclass(frozen=True)
class Tensor:
    """A stored tensor."""

    name: str
    type: str
    dims: tuple[int, ...]
    elements: int


def read_tensor(wire: WireReader, content: memoryview) -> tuple[Tensor, Numbers | None]:
    """Read a TensorProto, and the values of a small one of int64 or float32.

    Raises:
        ModelError: damaged or refused, or it does not hold as many bytes as it declares.
    """
    name, kind, dims = "", 0, list[int]()
    data: dict[int, memoryview] = {}
    for number, value in wire.fields(content, TENSOR):
        if number == 1:
            dims.append(signed(as_integer(value)))
        elif number == 2:
            kind = as_integer(value)
        elif number == 8:
            name = as_name(value)
        elif number != 14:
            data[number] = as_bytes(value)
        elif value != 0:  # data_location
            refuse(ELSEWHERE)
    if kind not in ELEMENTS:
        refuse(f"the tensor {brief(name)!r} of type {kind}")
    type_name, width = ELEMENTS[kind]
    if len(dims) > MAX_RANK or min(dims, default=0) < 0 or len(data) > 1:
        raise damaged(
            f"the tensor {brief(name)!r} of {brief(dims)} {type_name}, stored in {len(data)} ways"
        )
    count = prod(dims)
    ((field, stored),) = data.items() or [(_RAW_DATA, memoryview(b""))]
    held = len(stored)
    if field != _RAW_DATA:
        held = width * _listed(wire, kind, field, stored) if stored else -1
    if held != count * width:
        raise damaged(f"the tensor {brief(name)!r} of {dims} {type_name} holds {held} bytes")
    small = count <= _FEW and kind in (INT64, FLOAT32)
    values = _numbers(kind, field, stored, count) if small else None
    return Tensor(name, type_name, tuple(dims), count), values


def _listed(wire: WireReader, kind: int, field: int, stored: memoryview) -> int:
    """The number of elements that are listed one by one, in the field for their type."""
    least, most = LISTED_RANGE.get(kind, (-(2**63), 2**63 - 1))
    wanted = {FLOAT32: _FLOAT_DATA, INT64: _INT64_DATA}.get(kind, _INT32_DATA)
    if field != wanted:
        raise damaged(f"{ELEMENTS[kind][0]} in field {field} of TensorProto")
    if field == _FLOAT_DATA:
        return len(stored) // 4 if len(stored) % 4 == 0 else -1
    if max(stored) < 0x80 and most >= 0x7F:
        return len(stored)  # one byte each: a thousand times faster than to read each number
    wire.spend(len(stored))
    numbers = [signed(number) for number in packed_varints(stored, len(stored))]
    if min(numbers) < least or max(numbers) > most:
        raise damaged(f"{ELEMENTS[kind][0]} from {min(numbers)} to {max(numbers)}")
    return len(numbers)


def _numbers(kind: int, field: int, stored: memoryview, count: int) -> Numbers:
    if field == _INT64_DATA:
        return tuple(signed(number) for number in packed_varints(stored, count))
    numbers: Numbers = struct.unpack(f"<{count}{'q' if kind == INT64 else 'f'}", stored)
    return numbers
