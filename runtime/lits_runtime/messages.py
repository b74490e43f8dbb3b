"""File names: their endings, and as they may stand in a message, without control characters."""

import unicodedata
from pathlib import Path
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


def stem_and_ending(name: str) -> tuple[str, str]:
    """A file's name without the ending of a NIfTI file, and that ending, in any case of letters.

    >>> stem_and_ending("scan.v2.NII.gz"), stem_and_ending("scan.txt")
    (('scan.v2', '.NII.gz'), ('scan.txt', ''))
    """
    ending = volume_ending(name)
    return name[: len(name) - len(ending)], ending


def volume_ending(name: str) -> str:
    """The ending by which a name is that of a NIfTI file, single or half of a pair; or nothing."""
    lower = name.lower()
    for ending in (".nii.gz", ".nii", ".hdr", ".img", ".hdr.gz", ".img.gz"):
        if lower.endswith(ending):
            return name[len(name) - len(ending) :]
    return ""


def is_nifti(name: str) -> bool:
    """Whether a name ends in .nii or .nii.gz, in any case of letters: what we write."""
    return name.lower().endswith((".nii", ".nii.gz"))


def is_gzip(path: Path) -> bool:
    """Whether a file says by its name to be gzip."""
    return path.suffix.lower() == ".gz"


def header_and_voxels(path: Path) -> tuple[Path, Path]:
    """Where header and voxels of a NIfTI file are: twice the same but for .hdr with .img."""
    stem, ending = stem_and_ending(path.name)
    half, gz = ending[:4], ending[4:]
    if half.lower() not in (".hdr", ".img"):
        return path, path
    other = {".hdr": ".img", ".img": ".hdr"}[half.lower()]
    partner = path.with_name(stem + (other.upper() if half.isupper() else other) + gz)
    return (path, partner) if other == ".img" else (partner, path)


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
