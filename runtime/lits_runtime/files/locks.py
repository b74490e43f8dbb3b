"""File locks that end with their process, alike on POSIX and Windows.

They are a few system calls, not filelock: importing that takes 14 to 60 ms of the second that a
scan takes, some versions leave their files behind, and a lock that removes its file would need the
check in `_still_there` all the same.
"""

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}
_POLL_S = 0.05


def try_lock(descriptor: int) -> bool | None:
    """Lock an open file until it is closed; False if it is locked already, None without locks.

    Some network file systems have no locks. Over NFS a lock holds for other machines too, if the
    file was opened for writing.
    """
    try:
        import fcntl
    except ImportError:
        return _try_windows_lock(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return None if error.errno in _NO_LOCKS else False
    return True


def _try_windows_lock(descriptor: int) -> bool | None:
    try:
        import msvcrt
    except ImportError:
        return None
    try:
        # The file is empty: on Windows others can neither read nor write what is locked.
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    except OSError:
        return False
    return True


@contextmanager
def locked(path: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Hold a lock file while the block runs. It is made for this, and removed at the end.

    Args:
        path: of the lock file, in a folder that exists.
        wait: called repeatedly while another process holds it; raises to give up.

    Raises:
        OSError: the file cannot be made.
    """
    while True:
        descriptor = _open(path)
        if descriptor is not None:
            if try_lock(descriptor) is not False and _still_there(descriptor, path):
                break
            os.close(descriptor)
        wait()
    try:
        yield
    finally:
        _remove(descriptor, path)


def patience(wait_s: float, give_up: Callable[[], None]) -> Callable[[], None]:
    """A `wait` for `locked`: sleeps briefly, and calls `give_up`, which raises, after `wait_s`."""
    end = time.monotonic() + wait_s

    def wait() -> None:
        if time.monotonic() >= end:
            give_up()
        time.sleep(_POLL_S)

    return wait


def remove_if_abandoned(path: Path) -> bool:
    """Remove a file that nobody holds locked, as its owner would; whether it was removed."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | _FLAGS)
        if try_lock(descriptor) and _still_there(descriptor, path):
            _remove(descriptor, path)
            return True
        os.close(descriptor)
    return False


_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def _open(path: Path) -> int | None:
    """The lock file, made if need be; None if it is another user's and we may not open it."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o666)
    except PermissionError:
        if not path.exists():
            raise
    try:
        return os.open(path, os.O_RDONLY | _FLAGS)
    except (PermissionError, FileNotFoundError):
        return None


def _still_there(descriptor: int, path: Path) -> bool:
    """Whether the path still is the open file: its last holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except OSError:
        return False


def _remove(descriptor: int, path: Path) -> None:
    """Remove a locked file; on Windows, which cannot remove open files, just after closing it."""
    if os.name == "nt":
        os.close(descriptor)
        descriptor = -1
    with suppress(OSError):
        path.unlink()
    if descriptor >= 0:
        os.close(descriptor)
