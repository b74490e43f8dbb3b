"""An ONNX file as a tree of fields, to be written in forms that protobuf would not write."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import onnx

VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5
MODEL = onnx.ModelProto.DESCRIPTOR


@dataclass
class Field:
    """One stored field."""

    number: int
    kind: int
    value: "int | bytes | list[Field]"
    message: str = ""
    """The message that it belongs to."""
    tag: bytes | None = None
    """Bytes in place of the right ones."""
    over: int = 0
    """Superfluous bytes of its number or length."""
    lie: int = 0
    """By how much the length is too large."""


def varint(number: int, over: int = 0) -> bytes:
    """A number, in so many bytes more than it needs."""
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    for _ in range(over):
        found[-1] |= 0x80
        found.append(0)
    return bytes(found)


def hidden_tag(number: int, kind: int) -> bytes:
    """A tag of five bytes with bit 32 set, which protobuf drops."""
    tag = number << 3 | kind
    return bytes([*(tag >> shift & 127 | 128 for shift in (0, 7, 14, 21)), tag >> 28 & 127 | 16])


def parse(content: bytes, descriptor: Any = MODEL) -> list[Field]:
    """The tree of a valid file."""
    fields, at = list[Field](), 0
    while at < len(content):
        tag, at = _varint(content, at)
        number, kind = tag >> 3, tag & 7
        value: int | bytes | list[Field]
        if kind == VARINT:
            value, at = _varint(content, at)
        elif kind == LENGTH:
            length, at = _varint(content, at)
            value, at = content[at : at + length], at + length
            inner = descriptor.fields_by_number[number].message_type
            value = parse(value, inner) if inner else value
        else:
            width = {EIGHT_BYTES: 8, FOUR_BYTES: 4}[kind]
            value, at = content[at : at + width], at + width
        fields.append(Field(number, kind, value, descriptor.name))
    return fields


def dump(fields: list[Field]) -> bytes:
    """The bytes of a tree, with whatever is wrong in it."""
    return b"".join(map(_dump, fields))


def everywhere(fields: list[Field]) -> Iterator[tuple[list[Field], int]]:
    """Each field, as a list and an index into it."""
    for at, field in enumerate(fields):
        yield fields, at
        if isinstance(field.value, list):
            yield from everywhere(field.value)


def first(fields: list[Field], message: str, number: int) -> Field:
    """The first field of this number in a message of this name."""
    found = (place[at] for place, at in everywhere(fields))
    return next(field for field in found if (field.message, field.number) == (message, number))


def _dump(field: Field) -> bytes:
    tag = varint(field.number << 3 | field.kind) if field.tag is None else field.tag
    if isinstance(field.value, int):
        return tag + varint(field.value, field.over)
    content = dump(field.value) if isinstance(field.value, list) else field.value
    if field.kind != LENGTH:
        return tag + content
    return tag + varint(max(0, len(content) + field.lie), field.over) + content


def _varint(content: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (content[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if content[at - 1] < 0x80:
            return number, at
