"""The header of a NIfTI file and its extensions: bounded, and read by nibabel without warnings."""

import io
import logging
import threading
import warnings
from typing import Any, Literal

MAX_EXTENSIONS = 1000
_SILENT = logging.getLogger(f"{__name__}.repairs")
"""For the repairs of nibabel, whose own logger writes to stderr; notes tell what matters."""
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
_FILTERING = threading.Lock()
"""Warning filters are global to the process."""


def read_header(kind: Any, content: bytes) -> Any:
    """Nibabel's header from the first bytes of a file, with extensions, checked and repaired.

    Nothing is written to stderr; notes tell what matters of the repairs.
    """
    size = kind.template_dtype.itemsize
    big = kind(content[:size], check=False).endianness == ">"
    _bound_extensions(content[size:], "big" if big else "little")
    if content[size : size + 1] in (b"", b"\0"):
        header = kind.from_fileobj(io.BytesIO(content), check=False)
    else:
        with _FILTERING, warnings.catch_warnings():  # it warns about extensions of odd size
            warnings.simplefilter("ignore", UserWarning)
            header = kind.from_fileobj(io.BytesIO(content), check=False)
    header.check_fix(logger=_SILENT)
    return header


def _bound_extensions(after: bytes, byte_order: Literal["big", "little"]) -> None:
    """Refuse so many extensions that reading and writing them would take minutes."""
    position = count = 0
    while after[:1] not in (b"", b"\0") and position + 12 <= len(after):
        size = int.from_bytes(after[position + 4 : position + 8], byte_order, signed=True)
        if size < 8:
            return  # nibabel will say what is wrong
        position, count = position + size, count + 1
        if count > MAX_EXTENSIONS:
            raise ValueError(f"more than {MAX_EXTENSIONS} header extensions")
