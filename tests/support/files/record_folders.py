"""Folders with files that a record names."""

import json
from pathlib import Path

FACTS = {"bytes": 1, "sha256": "0" * 64}
FILES = {"named.nii.gz": FACTS, "p_liver.nii.gz": FACTS}


RECORD = json.dumps({"record_version": 1, "state": "done", "files": FILES})


def make(folder: Path, names: dict[str, str]) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(RECORD if name == "named.json" else "{}")


def within(folder: Path, paths: list[Path]) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]
