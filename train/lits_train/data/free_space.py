"""Free space, checked before hours of work."""

import shutil
from pathlib import Path

from lits_runtime.errors import DatasetError


def gigabytes(count: int) -> str:
    """Bytes in a readable form.

    >>> gigabytes(52_400_000_000)
    '52.4 GB'
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def shared_memory_free() -> int | None:
    """Free bytes of the file system that processes share tensors through; None without one."""
    folder = Path("/dev/shm")
    return shutil.disk_usage(folder).free if folder.is_dir() else None


def require_space(folder: Path, needed: int, purpose: str) -> int:
    """Make sure that a file system has enough free space.

    Args:
        folder: where files will be written; it need not exist yet.
        needed: bytes.
        purpose: what needs them, for the message.

    Returns:
        The free bytes.

    Raises:
        DatasetError: there is too little.
    """
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise DatasetError(
            f"{folder}: {purpose} needs {gigabytes(needed)}, {gigabytes(free)} are free; make room "
            "or choose another folder"
        )
    return free
