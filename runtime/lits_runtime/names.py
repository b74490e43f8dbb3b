"""File names and foreign messages as they may stand in ours: one line, no control characters."""

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
