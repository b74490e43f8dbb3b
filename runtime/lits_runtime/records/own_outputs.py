"""Which files of a folder are outputs of ours, by the records that lie there."""

import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lits_runtime.records.record_file import our_files

_MOST_JSON_BYTES = 2**24


def made_here(
    folder: Path,
    places: Iterable[Path] = (),
    explained: Callable[[Path], set[Path]] = our_files,
) -> dict[str, str]:
    """Which files of a folder are outputs of ours, by name, and the reason.

    Args:
        folder: with the files.
        places: other folders with records, of which some may tell of files in `folder`.
        explained: gives the files that the records in a folder tell of.
    """
    real = Path(os.path.realpath(folder))
    ours = set[Path]().union(*map(explained, dict.fromkeys((folder, *places))))
    return {path.name: "made by lits-infer" for path in sorted(ours) if path.parent == real}


def made_by_us(file: Path) -> str | None:
    """Why a file is a mask of ours, by the record beside it; None if there is none."""
    if file.name in made_here(file.parent):
        return "made by lits-infer; name the scan that it was made from"
    return None


def read_json(path: Path, *, starts: bytes = rb"\s*\{") -> dict[str, Any] | None:
    """The object in a regular file of usual size that starts so; None if there is none."""
    try:
        if not path.is_file() or path.stat().st_size > _MOST_JSON_BYTES:
            return None
        with path.open("rb") as file:
            begin = file.read(64)
            content = json.loads(begin + file.read()) if re.match(starts, begin) else None
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
