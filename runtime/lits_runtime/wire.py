"""The protobuf wire format, as far as it takes to look into an ONNX file without onnx.

Source: https://protobuf.dev/programming-guides/encoding
"""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from lits_runtime.errors import ModelError

_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_WIDTH = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}
_CONTINUED = bytes(range(128, 256))
"""Bytes of a varint that are not its last one."""


Field: TypeAlias = "tuple[int, int | bytes | memoryview]"
"""A number, and the value: of a varint, or the bytes of a string, message or packed list."""

Pieces: TypeAlias = list[bytes | memoryview]
"""A message to write, in parts that are put together once, when all of it is known."""


class WireReader:
    """Reads messages of one file; the number of fields is held to a limit over all of them."""

    def __init__(self, max_fields: int) -> None:
        self._left = max_fields

    def fields(self, message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
        """Field numbers with values: an int, or the bytes of a string, message or packed list.

        Raises:
            ModelError: the bytes are not a message, or the file has too many fields.
        """
        at, end = 0, len(message)
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise ModelError("the model has absurdly many parts: not written by lits-export")
            tag, at = _varint(message, at)
            number, kind = tag >> 3, tag & 7
            value: int | memoryview
            if kind == _VARINT:
                value, at = _varint(message, at)
            elif kind == _LENGTH:
                length, at = _varint(message, at)
                value, at = message[at : at + length], at + length
            elif kind in _WIDTH:
                value = int.from_bytes(message[at : at + _WIDTH[kind]], "little")
                at += _WIDTH[kind]
            else:
                raise damaged(f"wire type {kind} at field {number}")
            if at > end or number == 0:
                raise damaged(f"field {number} ends {at - end} bytes too late")
            yield number, value


def damaged(what: str) -> ModelError:
    """The error for bytes that make no sense."""
    return ModelError(f"the model is truncated, damaged or not an ONNX file: {what}")


def encoded(fields: Iterable[tuple[int, int | bytes | memoryview | Pieces]]) -> Pieces:
    """A message of varints, bytes and messages that are in pieces, in the order given.

    >>> b"".join(encoded([(1, 300), (2, b"ab"), (3, encoded([(1, 1)]))])).hex()
    '08ac02120261621a020801'
    """
    pieces: Pieces = []
    for number, value in fields:
        if isinstance(value, int):
            pieces.append(_encoded_varint(number << 3 | _VARINT) + _encoded_varint(value))
        else:
            content = value if isinstance(value, list) else [value]
            length = _encoded_varint(sum(map(len, content)))
            pieces += [_encoded_varint(number << 3 | _LENGTH) + length, *content]
    return pieces


def count_varints(packed: memoryview) -> int:
    """How many numbers a packed list of varints holds.

    >>> count_varints(memoryview(bytes([1, 0x80, 1, 5])))
    3
    """
    return len(bytes(packed).translate(None, _CONTINUED))


def packed_varints(packed: memoryview, most: int) -> list[int]:
    """The numbers of a packed list; one more than `most` of them if there are more."""
    numbers, at = list[int](), 0
    while at < len(packed) and len(numbers) <= most:
        number, at = _varint(packed, at)
        numbers.append(number)
    return numbers


def signed(number: int) -> int:
    """An int64 from the two's complement that the format stores.

    >>> signed(2**64 - 1)
    -1
    """
    return number - 2**64 if number >= 2**63 else number


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    number = 0
    for index in range(10):
        if at + index >= len(message):
            raise damaged("it ends within a number")
        byte = message[at + index]
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number & (2**64 - 1), at + index + 1
    raise damaged("a number of more than 10 bytes")


def _encoded_varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])
