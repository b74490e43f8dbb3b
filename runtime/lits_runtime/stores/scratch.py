"""Local room for fetched objects, with a limit on what lies there at once."""

import os
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from lits_runtime.errors import StoreError
from lits_runtime.files.locks import try_lock

DEFAULT_BYTES = 16 * 2**30
_PREFIX = "lits-scratch-"
_LOCK = ".lock"


_of_process: "dict[int, Scratch]" = {}
_opening = threading.Lock()


def scratch_within(limit: int | None) -> "Scratch":
    """The scratch of this process; with the same limit always the same."""
    with _opening:
        limit = limit or DEFAULT_BYTES
        if limit not in _of_process:
            _of_process[limit] = Scratch(limit)
        return _of_process[limit]


class Scratch:
    """Folders in the system's place for temporary files (TMPDIR), within a limit in bytes.

    Args:
        limit: of all folders together.
    """

    def __init__(self, limit: int = DEFAULT_BYTES) -> None:
        self._limit, self._used = limit, 0
        self._changed = threading.Condition()
        _remove_abandoned()

    def folder(self, size: int, name: str) -> "ScratchFolder":
        """A folder for so many bytes; waits until others have left room for it.

        Raises:
            StoreError: more than the limit.
        """
        if size > self._limit:
            raise StoreError(
                f"{name}: {size / 1e9:.1f} GB, and the limit of local scratch is "
                f"{self._limit / 1e9:.1f} GB; see --scratch-gb"
            )
        with self._changed:
            while self._used + size > self._limit:
                self._changed.wait()
            self._used += size
        return ScratchFolder(self, size)

    def give_back(self, size: int) -> None:
        """Let others have the room."""
        with self._changed:
            self._used -= size
            self._changed.notify_all()


class ScratchFolder:
    """A folder that is removed when it is closed, and by another process if this one is killed."""

    def __init__(self, scratch: Scratch, size: int) -> None:
        self._scratch, self._size = scratch, size
        try:
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
            self._lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT)
            try_lock(self._lock)
        except BaseException:
            scratch.give_back(size)
            raise
        self._open = True

    def close(self) -> None:
        """Remove the folder and what is in it."""
        if self._open:
            self._open = False
            os.close(self._lock)
            shutil.rmtree(self.path, ignore_errors=True)
            self._scratch.give_back(self._size)


def _remove_abandoned() -> None:
    """Remove the folders of killed processes: nobody holds the lock in them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            lock = os.open(folder / _LOCK, os.O_RDWR)
            try:
                if try_lock(lock):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
