"""Checks of a caller's arguments: first the type, then the range."""

import operator
import os
from numbers import Real
from pathlib import Path

from lits_runtime.errors import ArgumentError, OptionsError
from lits_runtime.messages import brief


def described(value: object) -> str:
    """A value for a message: its type, and the value itself if it is short.

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
    """An integer from `least` to `most`; NumPy's integers count.

    Raises:
        ArgumentError: not an integer, for example a bool or a float.
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
    """A finite number; NumPy's scalars count.

    Raises:
        ArgumentError: not a real number, for example a bool or a string.
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
    """A bool; NumPy's counts.

    Raises:
        ArgumentError: anything else, since Python takes "no" and 0.3 for true.
    """
    plain = value.item() if getattr(value, "shape", None) == () else value  # type: ignore[attr-defined]
    if not isinstance(plain, bool):
        raise ArgumentError(f"{name}: {described(value)}, expected True or False")
    return plain


def file_path(name: str, value: object) -> Path:
    """A path as text.

    Raises:
        ArgumentError: neither a string nor a path, or a path as bytes.
        OptionsError: empty, or with a NUL character, which no file system allows.
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
