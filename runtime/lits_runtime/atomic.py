"""Files that appear whole or not at all."""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = ".partial-"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside `target`, synced and renamed to it when the block succeeds.

    The folder of `target` is made if it is missing. The temporary name keeps the target's endings,
    which tell libraries the format. On any error the temporary file is removed and an older
    `target` stays as it was. What a killed process leaves goes with `remove_abandoned`.

    Raises:
        OSError: the disk is full, read-only or forbidden; it names the target.
    """
    try:
        with _partial(target) as temporary:
            yield temporary
    except OSError as error:
        ours = error.filename is not None and _PREFIX in str(error.filename)
        if not ours and error.errno not in _NO_ROOM:
            raise
        reason = f"cannot write: {error.strerror}; make room, or choose another output"
        raise OSError(error.errno, reason, str(target)) from error


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    endings = "".join(target.suffixes[-2:])
    descriptor, name = tempfile.mkstemp(prefix=_PREFIX, suffix=endings, dir=target.parent)
    temporary = Path(name)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # held as long as this process lives
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its name and place when the block succeeds.

    On any error it is removed and an older `target` stays as it was. Replacing an older folder
    takes two renames: between them, for a moment, there is none.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=target.parent))
    older = temporary.with_name(f"{temporary.name}-older")
    try:
        yield temporary
        for path in temporary.rglob("*"):
            if path.is_file():
                with path.open("rb+") as file:
                    os.fsync(file.fileno())
        temporary.chmod(0o777 & ~_umask())
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
    """Remove temporary files in a folder whose process was killed."""
    for path in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its process lives
            path.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
