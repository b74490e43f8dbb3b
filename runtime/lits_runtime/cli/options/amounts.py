"""Options that are times and sizes, with their units."""

import re
from typing import Any

import click

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_BYTES = {"k": 2**10, "M": 2**20, "G": 2**30}


class Amount(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A number with a unit, as "3d" or "2G".

    >>> Amount("time", _SECONDS).convert("1.5h", None, None)
    5400.0
    """

    def __init__(self, name: str, units: dict[str, int]) -> None:
        self.name, self._units = name, units

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number in seconds or bytes."""
        found = re.fullmatch(rf"(\d+(?:\.\d+)?)([{''.join(self._units)}])", str(value))
        if found is None:
            units = ", ".join(self._units)
            self.fail(f"{value!r}: expected a number with one of the units {units}", param, ctx)
        return float(found[1]) * self._units[found[2]]


TIME, SIZE = Amount("time", _SECONDS), Amount("size", _BYTES)
