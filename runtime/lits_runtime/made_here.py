"""Which files of a folder are outputs of ours, by the records that lie there."""

import json
import re
from pathlib import Path
from typing import Any

from lits_runtime.names import printable, stem_and_ending

_MOST_JSON_BYTES = 2**24
_RECORD_START = rb'\s*\{\s*"record_version"'


def made_here(folder: Path) -> dict[str, str]:
    """Which files of a folder its records say to be outputs of ours, by name, and the reason."""
    found = {}
    for record in sorted(folder.glob("*.json")):
        for output in _outputs_of(record) or ():
            found[output] = f"made by lits-infer ({printable(record.name)})"
    return found


def made_by_us(file: Path) -> str | None:
    """Why a file is a mask of ours, by the record beside it; None if there is none."""
    record = file.with_name(stem_and_ending(file.name)[0] + ".json")
    if file.name in (_outputs_of(record) or ()):
        return f"a mask that lits-infer made ({printable(record.name)}); name its scan"
    return None


def _outputs_of(record: Path) -> list[str] | None:
    """Names of the files that a record explains, which lie beside it; None if it is no record."""
    content = read_json(record, starts=_RECORD_START)
    if content is None:
        return None
    files = content.get("files")
    masks = [record.stem + ending for ending in (".nii", ".nii.gz")]  # while it is made
    return [record.name, *(files if isinstance(files, dict) and files else masks)]


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
