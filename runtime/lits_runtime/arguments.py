"""Arguments of callers, held to types and ranges before anything is done with them."""

import operator
import os
from numbers import Real
from pathlib import Path

from lits_runtime.errors import ArgumentError, OptionsError
from lits_runtime.messages import brief


def described(value: object) -> str:
    """A value as a message shows it: its type, and itself if that is short.

    >>> described([1, 2])
    'list [1, 2]'
    """
    kind = type(value).__name__
    if value is None or isinstance(value, bytes | bytearray | memoryview):
        return kind
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"{kind} of shape {shape}" if shape else f"{kind} {brief(value)}"
    try:
        shown = brief(repr(value))
    except Exception:  # a caller's class may raise anything from its repr
        return kind
    return f"{kind} {shown}" if len(shown) <= 60 else kind


def whole_number(name: str, value: object, least: int, most: int = 2**31 - 1) -> int:
    """An integer, numpy's included.

    Raises:
        ArgumentError: a bool, a float, a string: anything that does not count.
        OptionsError: out of range.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ArgumentError(f"{name}: {described(value)}, expected a whole number") from None
    if not least <= number <= most:
        raise OptionsError(f"{name} {number}: expected {least} to {most}")
    return number


def real_number(name: str, value: object) -> float:
    """A number that is finite, numpy's scalars included.

    Raises:
        ArgumentError: a bool, a string: anything that is no real number.
        OptionsError: not finite.
    """
    plain = value.item() if getattr(value, "shape", None) == () else value  # type: ignore[attr-defined]
    if isinstance(plain, bool) or not isinstance(plain, Real):
        raise ArgumentError(f"{name}: {described(value)}, expected a number")
    number = float(plain)
    if not abs(number) < float("inf"):  # NaN too
        raise OptionsError(f"{name} {number}: expected a finite number")
    return number


def flag(name: str, value: object) -> bool:
    """A bool, numpy's included.

    Raises:
        ArgumentError: anything else: "no" and 0.3 are both true to Python.
    """
    plain = value.item() if getattr(value, "shape", None) == () else value  # type: ignore[attr-defined]
    if not isinstance(plain, bool):
        raise ArgumentError(f"{name}: {described(value)}, expected True or False")
    return plain


def file_path(name: str, value: object) -> Path:
    """A path of text.

    Raises:
        ArgumentError: neither a string nor a path, or a path of bytes.
        OptionsError: empty, or with a NUL in it, which no system takes.
    """
    try:
        text = os.fspath(value)  # type: ignore[call-overload]
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise ArgumentError(f"{name}: {described(value)}, expected a path")
    if not text or "\0" in text:
        raise OptionsError(f"{name} {brief(repr(text))}: expected the path of a file")
    return Path(text)
