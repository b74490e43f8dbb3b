"""What is in folders and is not segmented, and how that is told."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lits_runtime.messages import without_uids

_SHOWN = 3


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that was left out."""

    path: Path
    """Of an object or series of DICOM: the folder that was searched, or a file as if it lay there,
    for folders inside may be named for patients."""
    why: str
    lost: bool = False
    """Whether a volume may be missing: a dangling link, an empty file, a locked folder, or a series
    with a fault."""
    is_series: bool = False
    """Whether it is a sound DICOM series, which is segmented if it is named."""
    refused: str | None = None
    """The name of a DICOM series that cannot be read as it is."""


def log_lines(left_out: Sequence[LeftOut]) -> Iterator[str]:
    """Log lines about what was left out: each path, or some of many with the same reason."""
    by_reason: dict[str, list[Path]] = {}
    for one in left_out:
        by_reason.setdefault(one.why, []).append(one.path)
    for why, paths in by_reason.items():
        if len(paths) <= _SHOWN:
            yield from (f"left out: {without_uids(str(path))}: {why}" for path in paths)
            continue
        first = ", ".join(without_uids(str(path)) for path in paths[:2])
        yield f"left out: {first} and {len(paths) - 2} more: {why}"


def tell(left_out: Sequence[LeftOut], logger: logging.Logger) -> None:
    """Log what was left out, with a warning where a volume may be missing."""
    for one in left_out:
        if one.lost:
            logger.warning("warning: %s is left out: %s", without_uids(str(one.path)), one.why)
    for line in log_lines([one for one in left_out if not one.lost]):
        logger.info("%s", line)
