"""Foreign text made safe to show: file names and error messages, in messages and in tables."""

import re
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


def hashed_uid(uid: str) -> str:
    """Eight hexadecimal digits that stand for a DICOM UID, by which a patient could be found.

    >>> hashed_uid("1.2.840.113619.2.55")
    '124a9180'
    """
    import hashlib

    return hashlib.sha256(uid.encode(errors="surrogateescape")).hexdigest()[:8]


def without_uids(name: str) -> str:
    """A file name or message, printable, in which each DICOM UID is replaced by its hash.

    >>> without_uids("CT.1.2.840.113619.2.55.dcm"), without_uids("scan.v1.2.nii")
    ('CT.124a9180.dcm', 'scan.v1.2.nii')
    """
    return re.sub(_UID, lambda found: hashed_uid(found[0]), printable(name))


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


_UID = r"(?<!\d)[0-2](?:\.\d+){5,}"
_FORMULA = ("=", "+", "-", "@")
