"""Which files in a folder we wrote, according to the records there."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from lits_runtime.records.record_file import our_files


def made_here(
    folder: Path,
    places: Iterable[Path] = (),
    explained: Callable[[Path], set[Path]] = our_files,
) -> dict[str, str]:
    """The files in a folder that are outputs of lits-infer, by name, with the reason for a log.

    Args:
        folder: with the files.
        places: other folders with records, which may list files in `folder`.
        explained: returns the files that the records in a folder list.
    """
    real = Path(os.path.realpath(folder))
    ours = set[Path]().union(*map(explained, dict.fromkeys((folder, *places))))
    return {path.name: "made by lits-infer" for path in sorted(ours) if path.parent == real}


def made_by_us(file: Path, made: Callable[[Path], dict[str, str]] = made_here) -> str | None:
    """Why a file is no scan: the record beside it says that we wrote it; else None.

    Args:
        file: in question.
        made: `made_here`, or a cache of it where many files are asked about.
    """
    if file.name in made(file.parent):
        return "made by lits-infer; name the scan that it was made from"
    return None
