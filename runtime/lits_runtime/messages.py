"""Names and messages of others, as they may stand in ours and in tables."""

import unicodedata
from typing import Any

_LONGEST = 300
"""Characters of somebody else's message that one of ours quotes."""


def printable(name: str) -> str:
    r"""The name with everything escaped that a terminal would act on or could not show.

    >>> printable("scan\x1b[2J\n.nii")
    'scan\\x1b[2J\\n.nii'
    """
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in name
    )


def brief(message: object) -> str:
    r"""The first line of a foreign message or name, printable and not overly long.

    >>> brief(ValueError("\n no  such\tkey \n at line 1"))
    'no such key'
    """
    lines = [" ".join(line.split()) for line in str(message).splitlines()]
    first = printable(next(filter(None, lines), ""))
    return first if len(first) <= _LONGEST else f"{first[:_LONGEST]}..."


def csv_cell(value: Any) -> Any:
    r"""A value for a table that people open with a spreadsheet: text is never a formula there.

    Numbers pass. Text that a spreadsheet would calculate is quoted as one would type it.

    >>> csv_cell("=1+1"), csv_cell("a\tb"), csv_cell(-1.5)
    ("'=1+1", 'a\\tb', -1.5)
    """
    if not isinstance(value, str):
        return value
    shown = printable(value)
    first = unicodedata.normalize("NFKC", value.lstrip()[:1])  # some read full-width signs too
    return f"'{shown}" if first in _FORMULA or value[:1] in ("\t", "\r", "\n") else shown


_FORMULA = ("=", "+", "-", "@")
