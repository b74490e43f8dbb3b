"""The header of a NIfTI file with its extensions, read by nibabel, bounded, and without a sound."""

import io
import logging
import threading
import warnings
from typing import Any, Literal

MAX_EXTENSIONS = 1000
_SILENT = logging.getLogger(f"{__name__}.repairs")
"""For what nibabel mends in a header; its own logger writes to stderr. What matters is in notes."""
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
_FILTERING = threading.Lock()
"""Python's warning filters are the process's."""


def read_header(kind: Any, content: bytes) -> Any:
    """Nibabel's header of a file's start, with extensions, checked and mended.

    Without a word on stderr: what matters of what it mends is in the notes.
    """
    size = kind.template_dtype.itemsize
    big = kind(content[:size], check=False).endianness == ">"
    _bound_extensions(content[size:], "big" if big else "little")
    if content[size : size + 1] in (b"", b"\0"):
        header = kind.from_fileobj(io.BytesIO(content), check=False)
    else:
        with _FILTERING, warnings.catch_warnings():  # it warns of extensions of odd sizes
            warnings.simplefilter("ignore", UserWarning)
            header = kind.from_fileobj(io.BytesIO(content), check=False)
    header.check_fix(logger=_SILENT)
    return header


def _bound_extensions(after: bytes, byte_order: Literal["big", "little"]) -> None:
    """Refuse what would take minutes to be read and written again."""
    position = count = 0
    while after[:1] not in (b"", b"\0") and position + 12 <= len(after):
        size = int.from_bytes(after[position + 4 : position + 8], byte_order, signed=True)
        if size < 8:
            return  # nibabel says what is wrong
        position, count = position + size, count + 1
        if count > MAX_EXTENSIONS:
            raise ValueError(f"more than {MAX_EXTENSIONS} header extensions")
