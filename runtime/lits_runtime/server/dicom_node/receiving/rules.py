"""Which series become jobs: rules in a TOML file, or CT of at least 10 images."""

import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from lits_runtime.errors import OptionsError
from lits_runtime.messages import brief, printable


class SeriesFacts(Protocol):
    """What rules look at."""

    @property
    def modality(self) -> str:
        """For example "CT"."""

    @property
    def body_part(self) -> str:
        """Body Part Examined, often empty."""

    @property
    def description(self) -> str:
        """Descriptions of series, study and protocol, one a line."""

    @property
    def calling_ae(self) -> str:
        """Of the sender."""


@dataclass(frozen=True)
class Rule:
    """What a series must be; empty lists and texts allow anything."""

    name: str = ""
    modality: tuple[str, ...] = ("CT",)
    body_part: tuple[str, ...] = ()
    """Of which one is that of the series; "" stands for none."""
    description: str = ""
    """A regular expression that is found in one of the descriptions, in capitals or not."""
    not_description: str = ""
    """One that is not found."""
    minimum_images: int = 10
    calling_ae: tuple[str, ...] = ()

    def refusal(self, series: SeriesFacts, images: int) -> str | None:
        """Why a series does not fit, without words of the sender's; None if it does."""
        if self.modality and series.modality.upper() not in self.modality:
            return f"modality is not {' or '.join(self.modality)}"
        if self.body_part and series.body_part.upper() not in self.body_part:
            return "other body part"
        if self.calling_ae and series.calling_ae not in self.calling_ae:
            return "other sender"
        if not _found(self.description, series.description, if_empty=True):
            return "description does not match"
        if _found(self.not_description, series.description, if_empty=False):
            return "description is excluded"
        if images < self.minimum_images:
            return f"{images} images, fewer than {self.minimum_images}"
        return None


def _found(expression: str, text: str, *, if_empty: bool) -> bool:
    if not expression:
        return if_empty
    return re.search(expression, text, re.IGNORECASE) is not None


@dataclass(frozen=True)
class Rules:
    """A series that fits one of them becomes a job."""

    rules: tuple[Rule, ...] = (Rule(),)

    @classmethod
    def read(cls, path: Path) -> "Rules":
        """Rules from a TOML file with a table [[rule]] for each.

        Raises:
            OptionsError: malformed, an unknown key, or a value of another kind.
        """
        try:
            with path.open("rb") as file:
                content = tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise OptionsError(f"{_shown(path)}: not TOML: {brief(error)}") from None
        tables: Any = content.get("rule")
        if set(content) != {"rule"} or not _is_list(tables, dict):
            raise OptionsError(f"{_shown(path)}: expected tables [[rule]], and nothing else")
        return cls(tuple(_rule(table, path, place) for place, table in enumerate(tables, 1)))

    def refusal(self, series: SeriesFacts, images: int) -> str | None:
        """Why a series fits none of the rules, in one line; None if it fits one."""
        reasons = list[str]()
        for place, rule in enumerate(self.rules, 1):
            reason = rule.refusal(series, images)
            if reason is None:
                return None
            reasons.append(f"{rule.name or f'rule {place}'}: {reason}" if self._several else reason)
        return "; ".join(reasons)

    @property
    def _several(self) -> bool:
        return len(self.rules) > 1


_KINDS: dict[str, type] = {"minimum_images": int, "name": str} | dict.fromkeys(
    ("description", "not_description"), str
)
"""Of the values; those of the others are lists of texts."""
_WORDS: dict[type | None, str] = {int: "a whole number", str: "a text"}


def _rule(table: dict[str, Any], path: Path, place: int) -> Rule:
    known = [field.name for field in fields(Rule)]
    values = dict[str, Any]()
    for key, value in table.items():
        if key not in known:
            raise OptionsError(
                f"{_shown(path)}, rule {place}: no key {printable(key)!r}; expected "
                f"{', '.join(known)}"
            )
        kind = _KINDS.get(key)
        if not (_is_list(value, str) if kind is None else type(value) is kind):
            wanted = _WORDS.get(kind, "a list of texts")
            raise OptionsError(f"{_shown(path)}, rule {place}: {key} is not {wanted}")
        values[key] = value if kind else tuple(value)
    for key in ("modality", "body_part"):
        if key in values:
            values[key] = tuple(text.upper() for text in values[key])
    for key in ("description", "not_description"):
        try:
            re.compile(values.get(key, ""))
        except re.error as error:
            raise OptionsError(
                f"{_shown(path)}, rule {place}: {key} is no regular expression: {brief(error)}"
            ) from None
    return Rule(**values)


def _is_list(value: object, kind: type) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, kind) for one in value)


def _shown(path: Path) -> str:
    return printable(str(path))
