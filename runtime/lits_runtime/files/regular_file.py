"""Regular files, opened without waiting, watched until they are read, and hashed meanwhile."""

import io
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from lits_runtime.errors import VolumeError
from lits_runtime.messages import printable

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: Path, error: type[Exception] = VolumeError, buffering: int = -1) -> BinaryIO:
    """Open a file for reading; what is no regular file (a named pipe would wait) is refused.

    Args:
        path: of the file.
        error: the class of what is raised for a file that is not regular.
        buffering: as of `open`.

    Raises:
        Exception: of the class `error`; it is a folder, a pipe, a socket or a device.
        OSError: there is no such file, or no permission.
    """
    _refuse_others(path, os.stat(path).st_mode, error)
    # It may be another one by now: without O_NONBLOCK the opening itself would wait.
    descriptor = os.open(path, os.O_RDONLY | _FLAGS)
    try:
        _refuse_others(path, os.fstat(descriptor).st_mode, error)
        return os.fdopen(descriptor, "rb", buffering)
    except BaseException:
        os.close(descriptor)
        raise


def kind_of(mode: int) -> str | None:
    """What a file is that is not regular, in words; None for a regular one."""
    return None if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "no regular file")


def _refuse_others(path: Path, mode: int, error: type[Exception]) -> None:
    if (kind := kind_of(mode)) is not None:
        raise error(f"{printable(str(path))}: {kind}, expected a regular file")


_FLAGS = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


def hash_content(file: BinaryIO, digest: Any) -> None:
    """Update a digest with what is left of a file, in pieces."""
    while content := file.read(2**20):
        digest.update(content)


class HashedFile(io.RawIOBase):
    """A binary file that updates a digest with whatever is read from it."""

    def __init__(self, file: BinaryIO, digest: Any) -> None:
        self._file, self._digest = file, digest

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; how many bytes."""
        content = self._file.read(len(buffer))
        self._digest.update(content)
        buffer[: len(content)] = content
        return len(content)


class Watched:
    """Files that are opened more than once, and must be the same each time, until they are read."""

    def __init__(self) -> None:
        self._seen: dict[Path, os.stat_result] = {}

    def see(self, path: Path, file: BinaryIO) -> None:
        """Note a file that was just opened.

        Raises:
            VolumeError: it is not as it was when it was opened before.
        """
        now = os.fstat(file.fileno())
        if not _same(self._seen.setdefault(path, now), now):
            raise _changed(path)

    def still(self, path: Path, file: BinaryIO) -> None:
        """Make sure that an open file was neither written to nor replaced; it may be removed.

        Raises:
            VolumeError: it was.
        """
        self.see(path, file)
        try:
            there = os.stat(path)
        except OSError:  # what was opened is whole without its name
            return
        if not os.path.samestat(there, self._seen[path]):
            raise _changed(path)

    @property
    def bytes(self) -> int:
        """Size of all files seen."""
        return sum(status.st_size for status in self._seen.values())


def _same(before: os.stat_result, now: os.stat_result) -> bool:
    return os.path.samestat(before, now) and (before.st_size, before.st_mtime_ns) == (
        now.st_size,
        now.st_mtime_ns,
    )


def _changed(path: Path) -> VolumeError:
    return VolumeError(
        f"{printable(str(path))}: changed while it was read; run again when it is complete"
    )
