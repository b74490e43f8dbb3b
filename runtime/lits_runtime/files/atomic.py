"""Files that appear whole or not at all."""

import errno
import hashlib
import io
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lits_runtime.files.locks import remove_if_abandoned, try_lock

PARTIAL_PREFIX = ".lits-partial-"
LOCK_PREFIX = ".lits-lock-"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
_ELSEWHERE_S = 86_400.0
"""Locks of another machine may be invisible here; its files count as abandoned after a day."""
_JUST_CLOSED_S = 60.0
"""On Windows a file is closed, and so unprotected, for a moment before it is renamed."""
_LONGEST_ENDING = 10
"""Of the endings that a temporary name keeps, so that it never exceeds the limit for names."""
_RESERVED = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True)
class FileFacts:
    """Size and digest of a file."""

    bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """As in a record."""
        return {"bytes": self.bytes, "sha256": self.sha256}


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside `target`, synced and renamed to it when the block succeeds.

    The folder of `target` is made if it is missing. The temporary name keeps the target's endings,
    by which libraries choose the format. On any error the temporary file is removed and an older
    `target` stays as it was. `remove_abandoned` removes what a killed process leaves behind.

    Raises:
        OSError: the disk is full, read-only or forbidden; the error names the target.
    """
    with errors_name(target):
        partial = _Partial(target)
        try:
            yield partial.path
            with partial.path.open("rb+") as file:
                os.fsync(file.fileno())
            partial.take_name()
        finally:
            partial.discard()


class NewFiles:
    """Files written beside their targets and renamed together, once all are complete."""

    def __init__(self) -> None:
        self._files: list[NewFile] = []

    def __enter__(self) -> "NewFiles":
        return self

    def __exit__(self, *exception: object) -> None:
        for file in self._files:
            file.discard()

    def open(self, target: Path) -> "NewFile":
        """A file to write, to be renamed to `target`, whose folder is made if it is missing."""
        with errors_name(target):
            self._files.append(NewFile(target))
        return self._files[-1]

    def close(self) -> dict[Path, FileFacts]:
        """Sync and close all files; size and digest of each."""
        return {file.target: file.close() for file in self._files}

    def take_names(self) -> None:
        """Rename the closed files to their targets."""
        for file in self._files:
            with errors_name(file.target):
                file.take_name()


class _Partial:
    """A file under a temporary name, locked for as long as its process lives."""

    def __init__(self, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        self.target = target
        while True:
            self.path = target.with_name(_temporary_name(target))
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _RESERVED
            self.descriptor = os.open(self.path, flags, 0o666)  # the kernel applies the umask
            if os.name == "nt":  # which cannot remove open files: no lock is needed
                return
            # Another process may take the new file for an abandoned one: it holds the lock until it
            # has removed it.
            if try_lock(self.descriptor) is not False and os.fstat(self.descriptor).st_nlink:
                return
            os.close(self.descriptor)

    def take_name(self) -> None:
        """Replace the target."""
        if os.name == "nt":  # which cannot rename open files
            self._close()
        self.path.replace(self.target)
        self._close()

    def discard(self) -> None:
        """Remove the file, unless it was renamed."""
        self._close()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class NewFile(_Partial):
    """A file of `NewFiles`, written once from start to end and hashed on the way."""

    def __init__(self, target: Path) -> None:
        super().__init__(target)
        self._stream = os.fdopen(os.dup(self.descriptor), "wb")
        self._digest, self._bytes = hashlib.sha256(), 0

    def write(self, content: Any) -> int:
        """Append bytes, or those of an array; returns their number."""
        with errors_name(self.target):
            count: int = self._stream.write(content)
        self._digest.update(content)
        self._bytes += count
        return count

    def flush(self) -> None:
        """Does nothing, for writers that call it; only `close` writes everything out."""

    def read(self, size: int = -1) -> bytes:
        """Not supported; nibabel requires a file to have the method."""
        raise io.UnsupportedOperation("this file is write-only")

    def tell(self) -> int:
        """The number of bytes written."""
        return self._bytes

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """Go forward to a position, filling with zeros; what is already hashed cannot change."""
        if whence != os.SEEK_SET or position < self._bytes:
            raise io.UnsupportedOperation("this file is written once, from start to end")
        self.write(bytes(position - self._bytes))
        return self._bytes

    def close(self) -> FileFacts:
        """Sync the file to disk, unless that is done; size and digest of what was written."""
        if not self._stream.closed:
            with errors_name(self.target):
                self._stream.flush()
                os.fsync(self._stream.fileno())
                self._stream.close()
        return FileFacts(self._bytes, self._digest.hexdigest())

    def discard(self) -> None:
        """Remove the file, unless it was renamed."""
        with suppress(OSError):  # the disk is full, still
            self._stream.close()
        super().discard()


@contextmanager
def errors_name(target: Path) -> Iterator[None]:
    """Make errors of the disk name the target, not a temporary or lock file beside it."""
    try:
        yield
    except OSError as error:
        named = str(error.filename or "")
        ours = PARTIAL_PREFIX in named or LOCK_PREFIX in named
        if named == str(target) or (not ours and error.errno not in _NO_ROOM):
            raise
        reason = f"cannot write: {error.strerror}; make room, or choose another output"
        raise OSError(error.errno, reason, str(target)) from error


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that replaces it when the block succeeds.

    On any error it is removed and an older `target` stays as it was. Replacing an older folder
    takes two renames; for a moment between them there is none.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(_temporary_name(Path()))
    temporary.mkdir()
    older = temporary.with_name(f"{temporary.name}-older")
    try:
        yield temporary
        for path in temporary.rglob("*"):
            if path.is_file() and not path.is_symlink():
                with path.open("rb+") as file:
                    os.fsync(file.fileno())
        if target.exists():
            target.rename(older)
        temporary.rename(target)
    except BaseException:
        if older.exists() and not target.exists():
            older.rename(target)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(older, ignore_errors=True)


def remove_abandoned(folder: Path) -> None:
    """Remove our temporary and lock files in a folder if their process was killed.

    They are ours by their names, and abandoned if no living process holds a lock on them. Those of
    another machine, whose locks may be invisible here, must also be a day old.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith((PARTIAL_PREFIX, LOCK_PREFIX)) and _may_be_abandoned(entry):
                remove_if_abandoned(Path(entry.path))


def _may_be_abandoned(entry: "os.DirEntry[str]") -> bool:
    try:
        if not entry.is_file(follow_symlinks=False):
            return False
        if entry.name.startswith(LOCK_PREFIX):
            return True
        ours = entry.name.startswith(f"{PARTIAL_PREFIX}{_machine()}-")
        if ours and os.name != "nt":
            return True
        age_s = time.time() - entry.stat(follow_symlinks=False).st_mtime
        return age_s > (_JUST_CLOSED_S if ours else _ELSEWHERE_S)
    except OSError:
        return False


def _temporary_name(target: Path) -> str:
    endings = "".join(ending for ending in target.suffixes[-2:] if len(ending) <= _LONGEST_ENDING)
    return f"{PARTIAL_PREFIX}{_machine()}-{os.getpid()}-{os.urandom(6).hex()}{endings}"


@cache
def _machine() -> str:
    """Eight characters that identify this machine."""
    if hasattr(os, "uname"):
        name = os.uname().nodename
    else:
        import platform

        name = platform.node()
    return hashlib.sha256(name.encode()).hexdigest()[:8]
