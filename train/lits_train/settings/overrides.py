"""Recipes overridden by a TOML file or the command line, and written as TOML."""

import difflib
import json
import re
import tomllib
import types
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from lits_runtime.files.regular_file import read_bounded
from lits_runtime.messages import brief
from lits_train.limits import expected, shown
from lits_train.settings.recipe import Recipe, with_current_name

MOST_TOML_BYTES = 2**20
_KINDS = get_type_hints(Recipe)
_NUMBER = re.compile(
    r"[-+]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})(e[-+]?\d{1,4})?|nan|[-+]?inf", re.ASCII
)


def override(recipe: Recipe, settings: Mapping[str, object]) -> Recipe:
    """The recipe with fields replaced, each converted to its field's type.

    >>> from lits_train.settings.recipe import BASELINE
    >>> override(BASELINE, {"batch_size": "8", "window_hu": "-100,200"}).window_hu
    (-100.0, 200.0)

    Args:
        recipe: what to start from.
        settings: text by field, tuples as comma-separated lists, None as "none"; or the values of
            a TOML file.

    Raises:
        ValueError: a field is unknown, or its value is not allowed.
    """
    values: dict[str, Any] = {name: _value(name, given) for name, given in settings.items()}
    return replace(recipe, **with_current_name(values))


def read_toml(path: Path) -> dict[str, Any]:
    """The settings in a TOML file: one `field = value` a line, without tables.

    Raises:
        ValueError: not TOML, not a regular file, or text in place of a number.
        OSError: not readable.
    """
    content = read_bounded(path, MOST_TOML_BYTES, ValueError)
    try:
        values = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not TOML: {brief(error)}") from error
    return {name: _toml_value(name, value) for name, value in values.items()}


def to_toml(recipe: Recipe) -> str:
    """The recipe as TOML for `read_toml`; scalars and flat lists are the same in JSON and TOML."""
    lines = (
        f"{name} = {json.dumps('none' if value is None else value)}\n"
        for name, value in recipe.to_json().items()
    )
    return "".join(lines)


def _toml_value(name: str, given: object) -> object:
    """The value unchanged, but lists as tuples and "none" as None.

    Raises:
        ValueError: it is text, and the field takes none.
    """
    kind = _KINDS.get(name)
    if given == "none" and get_origin(kind) is types.UnionType:
        return None
    if isinstance(given, str) and kind not in (str, None):
        raise ValueError(f"{name} {shown(given)}: expected {expected(kind)}, without quotes")
    return tuple(given) if isinstance(given, list) else given


def _value(name: str, given: object) -> object:
    if name not in _KINDS:
        near = difflib.get_close_matches(name[:100], _KINDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"settings are {', '.join(_KINDS)}"
        raise ValueError(f"{brief(name)}: no such setting; {hint}")
    if not isinstance(given, str):
        return tuple(given) if isinstance(given, list) else given
    try:
        return _from_text(_KINDS[name], given)
    except (KeyError, ValueError):
        raise ValueError(f"{name} {shown(given)}: expected {expected(_KINDS[name])}") from None


def _from_text(kind: Any, given: str) -> object:
    given = given.strip()
    if get_origin(kind) is types.UnionType:
        return None if given == "none" else _from_text(get_args(kind)[0], given)
    if get_origin(kind) is tuple:
        items = given.removesuffix(",").split(",") if given else []
        return tuple(_from_text(get_args(kind)[0], item) for item in items)
    if kind is bool:
        return {"true": True, "false": False}[given.lower()]
    if kind in (int, float) and not _NUMBER.fullmatch(given):  # Python itself takes 1_0 and more
        raise ValueError
    return kind(given)
