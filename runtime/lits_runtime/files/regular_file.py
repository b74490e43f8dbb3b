"""Regular files: opened without blocking, read up to a limit, hashed, and watched for changes."""

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
    """Open a regular file for reading; anything else is refused, since a named pipe would block.

    Args:
        path: of the file.
        error: the class to raise for a file that is not regular.
        buffering: as in `open`.

    Raises:
        Exception: of class `error`: it is a folder, a pipe, a socket or a device.
        OSError: there is no such file, or no permission.
    """
    _refuse_others(path, os.stat(path).st_mode, error)
    # It may have been replaced since: without O_NONBLOCK opening a pipe would block.
    descriptor = os.open(path, os.O_RDONLY | _FLAGS)
    try:
        _refuse_others(path, os.fstat(descriptor).st_mode, error)
        return os.fdopen(descriptor, "rb", buffering)
    except BaseException:
        os.close(descriptor)
        raise


def kind_of(mode: int) -> str | None:
    """What a file is, in words, if it is not a regular file; else None."""
    return None if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "not a regular file")


def _refuse_others(path: Path, mode: int, error: type[Exception]) -> None:
    if (kind := kind_of(mode)) is not None:
        raise error(f"{printable(str(path))}: {kind}, expected a regular file")


_FLAGS = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


def read_bounded(path: Path, most: int, error: type[Exception]) -> bytes:
    """The content of a regular file.

    Args:
        path: of the file.
        most: bytes that it may have.
        error: the class to raise if it has more, or is not regular.

    Raises:
        Exception: of class `error`.
        OSError: there is no such file, or no permission.
    """
    with open_regular(path, error) as file:
        size = os.fstat(file.fileno()).st_size
        content = b"" if size > most else file.read(most + 1)
    if max(size, len(content)) > most:
        raise error(f"{printable(str(path))}: larger than {most} bytes, the limit for such a file")
    return content


def hash_content(file: BinaryIO, digest: Any) -> None:
    """Update a digest with the rest of a file, piece by piece."""
    while content := file.read(2**20):
        digest.update(content)


class HashedFile(io.RawIOBase):
    """A binary file that updates a digest with all that is read from it."""

    def __init__(self, file: BinaryIO, digest: Any) -> None:
        self._file, self._digest = file, digest

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; returns the number of bytes."""
        content = self._file.read(len(buffer))
        self._digest.update(content)
        buffer[: len(content)] = content
        return len(content)


class Watched:
    """Files that are opened more than once and must stay the same until they are read."""

    def __init__(self) -> None:
        self._seen: dict[Path, os.stat_result] = {}

    def see(self, path: Path, file: BinaryIO) -> None:
        """Remember the state of a file that was just opened.

        Raises:
            VolumeError: it is not as it was when it was opened before.
        """
        now = os.fstat(file.fileno())
        if not _same(self._seen.setdefault(path, now), now):
            raise _changed(path)

    def still(self, path: Path, file: BinaryIO) -> None:
        """Check that an open file was neither written to nor replaced; it may have been removed.

        Raises:
            VolumeError: it was.
        """
        self.see(path, file)
        try:
            there = os.stat(path)
        except OSError:  # an open file stays whole without its name
            return
        if not os.path.samestat(there, self._seen[path]):
            raise _changed(path)

    @property
    def bytes(self) -> int:
        """Total size of the files."""
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
