"""Values of DICOM elements, checked, whatever a damaged or sloppy header holds."""

import math
from typing import Any

from lits_runtime.errors import VolumeError

_LONGEST = 200


class BadElement(VolumeError):
    """An element is missing, or has a value that it must not have."""


def text(dataset: Any, keyword: str) -> str:
    """The text of an element; empty if it is missing."""
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip(" \0")[:_LONGEST]


def texts(dataset: Any, keyword: str) -> tuple[str, ...]:
    """The texts of an element with several values."""
    value = dataset.get(keyword)
    if value is None:
        return ()
    several = [value] if isinstance(value, str) else list(value)
    return tuple(str(one).strip(" \0")[:_LONGEST] for one in several[:16])


def numbers(dataset: Any, keyword: str, count: int) -> tuple[float, ...] | None:
    """The numbers of an element; None if it is missing or empty.

    Raises:
        BadElement: there are more or fewer, or one is not finite.
    """
    value = dataset.get(keyword)
    if value is None or value == "":
        return None
    several = list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
    found = tuple(float(one) for one in several)
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
