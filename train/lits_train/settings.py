"""Recipes changed by a TOML file or by words from the command line, and written as TOML."""

import difflib
import json
import tomllib
import types
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from lits_train.recipe import Recipe

_EXPECTED = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_KINDS = get_type_hints(Recipe)


def override(recipe: Recipe, settings: Mapping[str, object]) -> Recipe:
    """The recipe with fields replaced, each converted to its field's type.

    >>> from lits_train.recipe import SEED
    >>> override(SEED, {"batch_size": "8", "window_hu": "-100,200"}).window_hu
    (-100.0, 200.0)

    Args:
        recipe: what is changed.
        settings: words by field, tuples as comma lists, None as "none"; or the values of a TOML
            file.

    Raises:
        ValueError: there is no such field, or a value is not one that it can take.
    """
    values: dict[str, Any] = {name: _value(name, given) for name, given in settings.items()}
    return replace(recipe, **values)


def read_toml(path: Path) -> dict[str, Any]:
    """The settings in a TOML file: one `field = value` a line, without tables.

    Raises:
        ValueError: not TOML.
        OSError: not readable.
    """
    try:
        return tomllib.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: not TOML: {error}") from error


def to_toml(recipe: Recipe) -> str:
    """The recipe as TOML that `read_toml` takes; its scalars and flat lists are written as JSON."""
    lines = (
        f"{name} = {json.dumps('none' if value is None else value)}\n"
        for name, value in recipe.to_json().items()
    )
    return "".join(lines)


def _value(name: str, given: object) -> object:
    if name not in _KINDS:
        near = difflib.get_close_matches(name, _KINDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_KINDS)}"
        raise ValueError(f"{name}: no such setting; {hint}")
    try:
        return _converted(_KINDS[name], given)
    except (KeyError, TypeError, ValueError):
        expected = _expected(_KINDS[name])
        raise ValueError(f"{name} {given!r}: expected {expected}") from None


def _converted(kind: Any, given: object) -> object:
    if get_origin(kind) is types.UnionType:
        return None if given == "none" else _converted(get_args(kind)[0], given)
    if get_origin(kind) is tuple:
        items = [item for item in given.split(",") if item] if isinstance(given, str) else given
        kinds = get_args(kind)
        if not isinstance(items, list) or (... not in kinds and len(items) != len(kinds)):
            raise ValueError
        return tuple(_converted(kinds[0], item) for item in items)
    if kind is str:
        if not isinstance(given, str):
            raise TypeError
        return given.strip()
    if kind is bool:
        return {"true": True, "false": False}[str(given).lower()]
    return kind(str(given))  # by way of text: 2.5 is no whole number, True is no number


def _expected(kind: Any) -> str:
    if get_origin(kind) is types.UnionType:
        return f'{_expected(get_args(kind)[0])}, or "none"'
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        count = "values" if ... in kinds else f"{len(kinds)} values"
        return f"{count} with commas between, each {_EXPECTED[kinds[0]]}"
    return _EXPECTED[kind]
