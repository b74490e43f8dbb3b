"""Local room for fetched objects, with a limit on what lies there at once."""

import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from lits_runtime.errors import CancelledError, StoreError

DEFAULT_BYTES = 16 * 2**30
_LOOK_S = 0.2


class Scratch:
    """Folders in the system's place for temporary files (TMPDIR), within a limit in bytes.

    Args:
        limit: of all folders together.
    """

    def __init__(self, limit: int = DEFAULT_BYTES) -> None:
        self._limit, self._used = limit, 0
        self._changed = threading.Condition()

    def folder(
        self, size: int, name: str, cancelled: Callable[[], bool] = lambda: False
    ) -> "ScratchFolder":
        """A folder for so many bytes; waits until others have left room for it.

        Raises:
            StoreError: more than the limit.
            CancelledError: `cancelled` says so while it waits.
        """
        if size > self._limit:
            raise StoreError(
                f"{name}: {size / 1e9:.1f} GB, and the limit of local scratch is "
                f"{self._limit / 1e9:.1f} GB; see --scratch-gb"
            )
        with self._changed:
            while self._used + size > self._limit:
                if cancelled():
                    raise CancelledError(f"{name}: cancelled, nothing written")
                self._changed.wait(_LOOK_S)
            self._used += size
        return ScratchFolder(self, size)

    def give_back(self, size: int) -> None:
        """Let others have the room."""
        with self._changed:
            self._used -= size
            self._changed.notify_all()


class ScratchFolder:
    """A folder that is removed when it is closed."""

    def __init__(self, scratch: Scratch, size: int) -> None:
        self._scratch, self._size = scratch, size
        try:
            self.path = Path(tempfile.mkdtemp(prefix="lits-scratch-"))
        except BaseException:
            scratch.give_back(size)
            raise
        self._open = True

    def close(self) -> None:
        """Remove the folder and what is in it."""
        if self._open:
            self._open = False
            shutil.rmtree(self.path, ignore_errors=True)
            self._scratch.give_back(self._size)
