"""Bytes put aside in an unnamed file, which is gone when it is closed or the process ends."""

import errno
import os
import shutil
import tempfile
from typing import Any, cast
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from lits_runtime.errors import ClosedError, VolumeError

_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}


class ScratchFile:
    """An unnamed file in the folder for temporary files; see `TMPDIR`.

    Nothing of it stays, however the process ends, and a forked child does not have it. It is read
    and written, not mapped, so that it takes no memory of the process.

    Args:
        purpose: what takes the space, for messages: "the clean-up".
        size: bytes that it will hold; 0 if that is not known.

    Raises:
        VolumeError: there is no room, or no folder for temporary files.
    """

    def __init__(self, purpose: str, size: int = 0) -> None:
        self._purpose, self._size = purpose, size
        try:
            self._folder = tempfile.gettempdir()
            free = shutil.disk_usage(self._folder).free
            if size > free:
                raise self._no_room(size, f"{free} free")
            self._file = tempfile.TemporaryFile(prefix="lits-", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise VolumeError(
                f"{purpose} takes scratch space, but there is no folder for temporary files "
                f"({error.strerror}): set TMPDIR to one"
            ) from error
        _open_files.add(self)
        self._reserve()

    def close(self) -> None:
        """Free the space."""
        self._file.close()

    def write(self, position: int, values: NDArray[Any]) -> None:
        """Write a contiguous array from a byte on.

        Raises:
            VolumeError: there is no room.
        """
        view = self._at(position, values)
        try:
            while len(view):
                view = view[self._file.write(view) :]
        except OSError as error:
            raise self._no_room(position + values.nbytes, error.strerror) from error

    def read(self, position: int, values: NDArray[Any]) -> None:
        """Fill a contiguous array with what was written from a byte on."""
        view = self._at(position, values)
        while len(view):
            count = self._file.readinto(view)
            if not count:
                raise VolumeError("the scratch file is shorter than what was written to it")
            view = view[count:]

    def _reserve(self) -> None:
        """Take the space now where the system can, so that none is missing in the middle."""
        if not self._size or not hasattr(os, "posix_fallocate"):
            return
        try:
            os.posix_fallocate(self._file.fileno(), 0, self._size)
        except OSError as error:
            if error.errno in _FULL:  # else the file system does not reserve
                self.close()
                raise self._no_room(self._size, error.strerror) from error

    def _at(self, position: int, values: NDArray[Any]) -> memoryview:
        if self._file.closed:
            raise ClosedError("a scratch file was closed, by its owner or in a forked child")
        self._file.seek(position)
        return memoryview(cast(Any, values.reshape(-1).view(np.uint8)))

    def _no_room(self, needed: int, reason: str | None) -> VolumeError:
        least = "" if self._size else "at least "
        return VolumeError(
            f"{self._purpose} takes {least}{max(needed, self._size)} bytes of scratch space, more "
            f"than {self._folder} has ({reason}): set TMPDIR to another folder"
        )


_open_files: WeakSet[ScratchFile] = WeakSet()


def _leave_parents() -> None:
    for file in list(_open_files):
        file.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_parents)
