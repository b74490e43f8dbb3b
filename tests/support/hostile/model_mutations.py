"""Models changed at random: bytes, stored fields, and the content of valid files."""

import copy
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from lits_runtime.model.bundled import bundled_model
from support.hostile.costly_models import ONES, RESIZE, computing, ints, window
from support.hostile.wire_tree import (
    LENGTH,
    VARINT,
    Field,
    dump,
    everywhere,
    hidden_tag,
    parse,
    varint,
)
from support.networks.tiny_models import positional_model, tiny_model

_NUMBERS = (0, 1, 2, 7, 10, 18, 127, 128, 255, 2**31 - 1, 2**31, 2**32, 2**32 + 7, 2**63, 2**64 - 1)
_BYTES = (b"", b"\x00", b"slab", b"labels", b"lits", b"\xff\xfe", b"Conv", b"Loop", bytes(8))
_MOST_CHANGES = 3


def seeds() -> list[bytes]:
    """Models that pass the check: by hand, with most operators, and the first bundled nodes."""
    return [tiny_model(), positional_model(), windows(), shortened(30)]


def windows() -> bytes:
    """The tiny model with convolutions, integers, and sizes computed from shapes."""
    return computing(
        [
            ("Unsqueeze", ["slab", "axis"], "channel1", {}),
            ("Shape", ["channel1"], "leading", {"start": 0, "end": 2}),
            ("Concat", ["leading", "sides"], "sizes", {"axis": 0}),
            ("Resize", ["channel1", "", "", "sizes"], "x0", RESIZE),
            ("QuantizeLinear", ["x0", "scale", "zero"], "q", {}),
            ("DequantizeLinear", ["q", "scale", "zero"], "x1", {}),
            ("Conv", ["x1", "weight"], "x2", window(1)),
            ("ConvTranspose", ["x2", "weight"], "x3", window(1) | {"output_padding": [0, 0]}),
            ("Clip", ["x3", "low", "high"], "x4", {}),
            ("Expand", ["low", "sizes"], "filled", {}),
            ("Where", ["half_bool", "x4", "filled"], "x5", {}),
            ("Cast", ["x5"], "x6", {"to": TensorProto.FLOAT16}),
            ("Cast", ["x6"], "x7", {"to": TensorProto.FLOAT}),
        ],
        sides=ints(4, 4),
        scale=np.array(0.5, np.float32),
        zero=np.array(3, np.uint8),
        weight=ONES,
        low=np.array(0, np.float32),
        high=np.array(9, np.float32),
        half_bool=np.array(True),
    )


def shortened(count: int) -> bytes:
    """The first nodes of the bundled model with part of their weights, and the tiny model's end."""
    model, end = onnx.load(bundled_model()), onnx.load_from_string(tiny_model())
    nodes = [*model.graph.node[:count]]
    used = {name for node in nodes for name in node.input}
    for entry in model.graph.initializer:
        if entry.name not in used:
            continue
        if len(entry.dims) == 4 and entry.dims[0] > 1:
            entry.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(entry)[:1], entry.name))
        end.graph.initializer.append(entry)
    for node in reversed(nodes):
        end.graph.node.insert(0, node)
    return bytes(end.SerializeToString())


def mutated(content: bytes, random: Random) -> bytes:
    """One to three changes, all to bytes, to stored fields, or through protobuf."""
    kind = random.choice((_change_bytes, _change_fields, _change_fields, _change_message))
    return kind(content, random)


def _change_bytes(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(random.randint(1, _MOST_CHANGES)):
        at = random.randrange(len(changed))
        what = random.randrange(4)
        if what == 0:
            changed[at] ^= 1 << random.randrange(8)
        elif what == 1:
            changed.insert(at, random.randrange(256))
        elif what == 2:
            del changed[at : at + random.randint(1, 4)]
        else:
            changed[at:at] = changed[at : at + random.randint(1, 40)]
    return bytes(changed)


def _change_fields(content: bytes, random: Random) -> bytes:
    fields = parse(content)
    for _ in range(random.randint(1, _MOST_CHANGES)):
        places = [place for place in everywhere(fields) if place[0]]
        level, at = random.choice(places)
        other_level, other = random.choice(places)
        change = random.choice(_FIELD_CHANGES)
        change(level, at, other_level[other], random)
    return dump(fields)


def _hide(level: list[Field], at: int, other: Field, random: Random) -> None:
    level[at].tag = hidden_tag(random.choice((level[at].number, 6, 13)), level[at].kind)


def _stretch(level: list[Field], at: int, other: Field, random: Random) -> None:
    level[at].over = random.randint(1, 4)


def _stretch_tag(level: list[Field], at: int, other: Field, random: Random) -> None:
    level[at].tag = varint(level[at].number << 3 | level[at].kind, random.randint(1, 3))


def _lie(level: list[Field], at: int, other: Field, random: Random) -> None:
    level[at].lie = random.randint(-3, 3)


def _renumber(level: list[Field], at: int, other: Field, random: Random) -> None:
    level[at].number = random.choice((*range(1, 27), 0, 2**29 - 1, 2**29, 2**30 + 6))


def _remove(level: list[Field], at: int, other: Field, random: Random) -> None:
    del level[at]


def _repeat(level: list[Field], at: int, other: Field, random: Random) -> None:
    level.insert(random.choice((at, len(level))), copy.deepcopy(level[at]))


def _swap(level: list[Field], at: int, other: Field, random: Random) -> None:
    to = random.randrange(len(level))
    level[at], level[to] = level[to], level[at]


def _move(level: list[Field], at: int, other: Field, random: Random) -> None:
    level.insert(at, copy.deepcopy(other))


def _take_value(level: list[Field], at: int, other: Field, random: Random) -> None:
    level[at].value = copy.deepcopy(other.value)
    level[at].kind = other.kind


def _set_value(level: list[Field], at: int, other: Field, random: Random) -> None:
    field = level[at]
    if field.kind == VARINT:
        field.value = random.choice(_NUMBERS)
    elif field.kind == LENGTH:
        field.value = random.choice(_BYTES)


def _pack(level: list[Field], at: int, other: Field, random: Random) -> None:
    field = level[at]
    if isinstance(field.value, int):
        same = [one for one in level if one.number == field.number]
        packed = b"".join(varint(one.value) for one in same if isinstance(one.value, int))
        field.kind, field.value = LENGTH, packed
        level[:] = [one for one in level if one is field or one.number != field.number]


_FIELD_CHANGES: tuple[Callable[[list[Field], int, Field, Random], None], ...] = (
    *(_hide, _stretch, _stretch_tag, _lie, _renumber, _remove, _repeat),
    *(_swap, _move, _take_value, _set_value, _pack),
)


def _change_message(content: bytes, random: Random) -> bytes:
    """Set or clear fields through protobuf, which then writes the file."""
    model = onnx.load_from_string(content)
    for _ in range(random.randint(1, _MOST_CHANGES)):
        message: Any = model
        while True:
            field = random.choice(list(message.DESCRIPTOR.fields))
            if field.message_type is None:
                _set(message, field, random)
                break
            inner = getattr(message, field.name)
            if field.is_repeated:
                message = (
                    random.choice(inner) if len(inner) and random.random() < 0.9 else inner.add()
                )
            elif message.HasField(field.name) or random.random() < 0.1:
                inner.SetInParent()
                message = inner
    return bytes(model.SerializeToString())


def _set(message: Any, field: Any, random: Random) -> None:
    values: tuple[Any, ...] = _NUMBERS
    if field.type == field.TYPE_STRING:
        values = ("", "slab", "labels", "x" * 600, "a\x00b", "é", "Cast", "Sigmoid", "axis", "half")
    elif field.type == field.TYPE_BYTES:
        values = _BYTES
    elif field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        values = (0.0, -0.75, 1e30, float("nan"))
    elif field.type == field.TYPE_ENUM:
        values = tuple(field.enum_type.values_by_number)
    elif field.type == field.TYPE_INT32:
        values = tuple(n for n in _NUMBERS if n < 2**31)
    elif field.type == field.TYPE_INT64:
        values = (*(n for n in _NUMBERS if n < 2**63), -1, -(2**63))
    value = random.choice(values)
    if not field.is_repeated:
        setattr(message, field.name, value)
    elif len(held := getattr(message, field.name)) and random.random() < 0.7:
        held[random.randrange(len(held))] = value
    else:
        held.append(value)
