"""File names as they may stand in a message: one line, no control characters."""


def printable(name: str) -> str:
    r"""The name with everything escaped that a terminal would act on or could not show.

    >>> printable("scan\x1b[2J\n.nii")
    'scan\\x1b[2J\\n.nii'
    """
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in name
    )
