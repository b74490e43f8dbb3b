"""Files that appear whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside `target`, synced and renamed to it when the block succeeds.

    The folder of `target` is made if it is missing. The temporary name keeps the target's endings,
    which tell libraries the format. On any error the temporary file is removed and an older
    `target` stays as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    endings = "".join(target.suffixes[-2:])
    descriptor, name = tempfile.mkstemp(prefix=".partial-", suffix=endings, dir=target.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
