"""Why a path cannot be read, found out without opening it, so that a FIFO cannot block."""

import os
import stat
from pathlib import Path

from lits_runtime.files.regular_file import kind_of
from lits_runtime.messages import printable


def why_no_file(path: Path | str) -> str | None:
    """Why a given path is neither a file to read nor a folder to search; None if it is one."""
    if not str(path):
        return "an empty name"
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        if os.path.islink(path):
            return f"a link to {printable(os.readlink(path))}, which is not there"
        return "no such file or folder"
    except (OSError, ValueError) as error:
        return reason(error)
    if stat.S_ISDIR(mode):
        return None
    return no_regular_file(mode) or cannot_be_read(Path(path))


def no_regular_file(mode: int) -> str | None:
    """What an entry is by its mode, if it is not a regular file."""
    kind = kind_of(mode)
    return None if kind is None else f"{kind}, expected a regular file"


def cannot_be_read(file: Path) -> str | None:
    """Why a regular file cannot be read: it is empty, or out of reach; else None."""
    try:
        return "an empty file" if file.stat().st_size == 0 else None
    except OSError as error:
        return reason(error)


def reason(error: Exception) -> str:
    """The reason of an error of the operating system, in a few words."""
    text = getattr(error, "strerror", None) or str(error)
    return f"cannot be read: {printable(text)}"
