"""Foreign text made safe to show: file names and error messages, in messages and in tables."""

import unicodedata
from typing import Any

_LONGEST = 300
"""Characters of a foreign message that are quoted."""


def printable(name: str) -> str:
    r"""A name with all characters escaped that a terminal would interpret or cannot show.

    >>> printable("scan\x1b[2J\n.nii")
    'scan\\x1b[2J\\n.nii'
    """
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in name
    )


def brief(message: object) -> str:
    r"""The first line of a foreign message or name, printable and shortened.

    >>> brief(ValueError("\n no  such\tkey \n at line 1"))
    'no such key'
    """
    lines = [" ".join(line.split()) for line in str(message).splitlines()]
    first = printable(next(filter(None, lines), ""))
    return first if len(first) <= _LONGEST else f"{first[:_LONGEST]}..."


def csv_cell(value: Any) -> Any:
    r"""A value for a CSV that is opened in a spreadsheet, where no text may become a formula.

    Numbers are kept. Text that looks like a formula gets a leading apostrophe.

    >>> csv_cell("=1+1"), csv_cell("a\tb"), csv_cell(-1.5)
    ("'=1+1", 'a\\tb', -1.5)
    """
    if not isinstance(value, str):
        return value
    shown = printable(value)
    first = unicodedata.normalize("NFKC", value.lstrip()[:1])  # full-width signs count too
    return f"'{shown}" if first in _FORMULA or value[:1] in ("\t", "\r", "\n") else shown


_FORMULA = ("=", "+", "-", "@")
