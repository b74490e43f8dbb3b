"""Values of DICOM elements, checked, whatever a damaged or sloppy header holds."""

import math
import struct
from functools import cache
from typing import Any

from lits_runtime.errors import VolumeError

_LONGEST = 200
_FREE_TEXT = ("SeriesDescription", "ProtocolName", "ContrastBolusAgent", "CodeMeaning")
"""In the character set of the object."""
_BINARY = (
    *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
)


class BadElement(VolumeError):
    """An element is missing, or has a value that it must not have."""


def text(dataset: Any, keyword: str) -> str:
    """The text of an element; empty if it is missing."""
    return "\\".join(texts(dataset, keyword))


def texts(dataset: Any, keyword: str) -> tuple[str, ...]:
    """The texts of an element with several values."""
    value = _plain_value(dataset, keyword)
    if value is None:
        return ()
    several = value.split("\\") if isinstance(value, str) else list(value)
    return tuple(str(one).strip(" \0")[:_LONGEST] for one in several[:16])


def numbers(dataset: Any, keyword: str, count: int) -> tuple[float, ...] | None:
    """The numbers of an element; None if it is missing or empty.

    Raises:
        BadElement: there are more or fewer, or one is not finite.
    """
    value = _plain_value(dataset, keyword)
    if value is None or value == "":
        return None
    if isinstance(value, str):
        value = value.split("\\")
    found = tuple(float(one) for one in (value if hasattr(value, "__iter__") else [value]))
    if not found:
        return None
    if len(found) != count or not all(map(math.isfinite, found)):
        raise BadElement(f"{keyword} is no {count} numbers")
    return found


def number(dataset: Any, keyword: str) -> float | None:
    """The number of an element; None if it is missing or empty."""
    found = numbers(dataset, keyword, 1)
    return None if found is None else found[0]


def whole(dataset: Any, keyword: str, low: int, high: int) -> int:
    """A whole number that must be there.

    Raises:
        BadElement: it is missing, or out of range.
    """
    found = number(dataset, keyword)
    if found is None or found != int(found) or not low <= found <= high:
        shown = "missing" if found is None else f"{found:g}"
        raise BadElement(f"{keyword} is {shown}, expected {low} to {high}")
    return int(found)


def item(dataset: Any, keyword: str) -> Any:
    """The first item of a sequence; None if there is none."""
    sequence = dataset.get(keyword)
    return sequence[0] if sequence is not None and len(sequence) else None


@cache
def _tag(keyword: str) -> Any:
    from pydicom.tag import Tag

    return Tag(keyword)


def _plain_value(dataset: Any, keyword: str) -> Any:
    """The value of an element: text, a sequence of numbers or texts, a number, or None.

    pydicom's own conversion takes a third of the time that it takes to read a series.
    """
    tag = _tag(keyword)
    if tag not in dataset:
        return None
    element = dataset.get_item(tag)
    value = element.value
    if not isinstance(value, bytes) or keyword in _FREE_TEXT:
        value = dataset.get(keyword)
        return value if value is None or isinstance(value, str) else _listed(value)
    if keyword in _BINARY:
        order = "<" if element.is_little_endian else ">"
        kind = "h" if element.VR == "SS" else "H"
        return struct.unpack(f"{order}{len(value) // 2}{kind}", value)
    return value.decode("latin-1").strip(" \0")


def _listed(value: Any) -> Any:
    return list(value) if hasattr(value, "__iter__") else [value]
