"""Whether a name that somebody gave is one of a file to read, asked without opening anything."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from lits_runtime.messages import printable


def why_no_file(path: Path | str) -> str | None:
    """Why a name that somebody gave is not that of a file to open or a folder to search; or None.

    Nothing is opened, so that a FIFO cannot block.
    """
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


_FORMS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def no_regular_file(mode: int) -> str | None:
    """What lies there by its mode, if no regular file."""
    if stat.S_ISREG(mode):
        return None
    form = next((form for is_it, form in _FORMS if is_it(mode)), "something")
    return f"{form}, not a regular file"


def cannot_be_read(file: Path) -> str | None:
    """Why a regular file holds nothing to read; None if it may."""
    try:
        return "an empty file" if file.stat().st_size == 0 else None
    except OSError as error:
        return reason(error)


def reason(error: Exception) -> str:
    """What the system says, in a few words."""
    text = getattr(error, "strerror", None) or str(error)
    return f"cannot be read: {printable(text)}"
