"""The protobuf wire format, as strictly as protobuf's own writer writes it; needs no protobuf.

Two readers of one file may disagree about what it holds: protobuf keeps 32 bits of a tag and the
last of two values, and skips what it does not know. Whatever only a hand-made file contains is
therefore refused, so that there is nothing to disagree about.

Source: https://protobuf.dev/programming-guides/encoding
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from lits_runtime.errors import ModelError
from lits_runtime.messages import brief

VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5
"""Wire types: how a value is stored."""
_WIDTH = {EIGHT_BYTES: 8, FOUR_BYTES: 4}
MAX_NAME = 512
_LARGEST_TAG = 2**32 - 1


@dataclass(frozen=True)
class Message:
    """The fields that a message may have, as number and wire type; any other is refused."""

    name: str
    once: Mapping[int, int]
    many: Mapping[int, int] = field(default_factory=dict)
    """Those that may be repeated, one right after the other."""
    refused: Mapping[int, str] = field(default_factory=dict)
    """What some other fields hold, for the error message."""
    tags: dict[int, bool] = field(init=False)
    """Whether a field may be repeated, by its stored tag: number and wire type in one."""

    def __post_init__(self) -> None:
        once = {number << 3 | kind: False for number, kind in self.once.items()}
        many = {number << 3 | kind: True for number, kind in self.many.items()}
        object.__setattr__(self, "tags", once | many)


class WireReader:
    """Reads the messages of one file, which may have so many fields in all."""

    def __init__(self, max_fields: int) -> None:
        self._left = max_fields

    def fields(
        self, content: memoryview, message: Message
    ) -> Iterator[tuple[int, int | memoryview]]:
        """Field numbers with values: an int, or the bytes of a string, message or packed list.

        Raises:
            ModelError: the bytes are not this message as protobuf writes it, or the file has too
                many fields.
        """
        at, end, last = 0, len(content), 0
        while at < end:
            self.spend(1)
            tag = content[at]
            at += 1
            if tag >= 0x80:
                tag, at = _varint(content, at - 1)
            repeated = message.tags.get(tag)
            if repeated is None:
                _refuse(message, tag)
            if tag < last or (tag == last and not repeated):
                raise damaged(f"field {tag >> 3} of {message.name} twice or out of order")
            last = tag
            kind = tag & 7
            value: int | memoryview | None = None
            if kind == LENGTH:
                length = content[at] if at < end else 0x80
                if length < 0x80:
                    at += 1
                else:
                    length, at = _varint(content, at)
                value, at = content[at : at + length], at + length
            elif kind == VARINT:
                value, at = _varint(content, at)
            elif kind in _WIDTH:
                value = int.from_bytes(content[at : at + _WIDTH[kind]], "little")
                at += _WIDTH[kind]
            if value is None or at > end:
                raise damaged(f"field {tag >> 3} of type {kind} ends {max(0, at - end)} bytes late")
            yield tag >> 3, value

    def spend(self, fields: int) -> None:
        """Count parts of the file that are not fields, such as the numbers of a list.

        Raises:
            ModelError: there are too many.
        """
        self._left -= fields
        if self._left < 0:
            raise ModelError("the model has absurdly many parts: not written by lits-export")


def damaged(what: str) -> ModelError:
    """The error for bytes that make no sense."""
    return ModelError(f"the model is truncated, damaged or not an ONNX file: {what}")


def refuse(what: str) -> NoReturn:
    """Raise the error for what is well-formed, but not written by lits-export."""
    raise ModelError(f"the model holds {what}: refused, lits-export writes no such thing")


def as_bytes(value: int | memoryview) -> memoryview:
    """The content of a field that holds a message, text or list."""
    if isinstance(value, int):
        raise damaged(f"the number {value} in place of a message")
    return value


def as_integer(value: int | memoryview) -> int:
    """The content of a field that holds a number."""
    if not isinstance(value, int):
        raise damaged("a message in place of a number")
    return value


def as_text(value: int | memoryview) -> str:
    """The content of a field that holds text."""
    try:
        return str(as_bytes(value), "utf-8")
    except UnicodeDecodeError as error:
        raise damaged(f"text that is not UTF-8: {error.reason}") from error


def as_name(value: int | memoryview) -> str:
    """The content of a field that holds a name: one line of ASCII that can be shown."""
    text = as_text(value)
    if not (text.isascii() and text.isprintable() and len(text) <= MAX_NAME):
        raise damaged(f"the name {brief(text)!r} of {len(text)} characters")
    return text


def packed_varints(packed: memoryview, most: int) -> list[int]:
    """The numbers of a packed list; if there are more than `most`, the first `most` + 1.

    >>> packed_varints(memoryview(bytes([1, 0x80, 1, 5])), 9)
    [1, 128, 5]
    """
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


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    """A number in its shortest form, and where it ends."""
    number = 0
    for index in range(10):
        if at + index >= len(content):
            raise damaged("it ends within a number")
        byte = content[at + index]
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if number >= 2**64 or (byte == 0 and index):
                raise damaged("a number stored in a form that no writer uses")
            return number, at + index + 1
    raise damaged("a number of more than 10 bytes")


def _refuse(message: Message, tag: int) -> NoReturn:
    number = tag >> 3
    if tag <= _LARGEST_TAG and number in message.refused:
        refuse(message.refused[number])
    known = number in message.once or number in message.many
    what = f"stored as wire type {tag & 7}" if known else "which lits-export does not write"
    raise damaged(f"field {number} of {message.name}, {what}")
