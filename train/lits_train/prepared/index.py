"""The index of a prepared folder, written after every change: it commits cases."""

import dataclasses
import json
from pathlib import Path

from lits_runtime.errors import DatasetError
from lits_runtime.files.atomic import atomic_path
from lits_train.data.case_files import case_order
from lits_train.prepared.index_content import FORMAT_VERSION, INDEX_NAME, Entry, read_index


class PreparedIndex:
    """The index of a prepared folder; every change is on disk when the method returns."""

    def __init__(self, folder: Path, size: int, *, start_over: bool = False) -> None:
        """Read the index of a folder, or start one.

        Raises:
            DatasetError: the folder is prepared at another size, or its index is not readable.
        """
        self.folder, self.size = folder, size
        self.cases: dict[str, Entry] = {}
        self.pending: set[str] = set()
        """Cases still to be prepared."""
        self.skipped: dict[str, str] = {}
        """By case ID, why it could not be prepared."""
        if start_over or not (folder / INDEX_NAME).exists():
            return
        content = read_index(folder)
        if content.size != size:
            raise DatasetError(
                f"{folder}: prepared at {content.size} x {content.size}, requested "
                f"{size} x {size}: choose another folder, or start over with --force"
            )
        self.cases, self.pending = content.cases, content.pending
        self.skipped = content.skipped

    def expect(self, pending: set[str]) -> None:
        """Declare cases that will be written; until then, arrays of theirs do not count."""
        self.pending = set(pending)
        for case_id in pending:
            self.cases.pop(case_id, None)
            self.skipped.pop(case_id, None)
        self.write()

    def commit(self, case_id: str, entry: Entry) -> None:
        """List a case whose arrays are complete."""
        self.cases[case_id] = entry
        self.pending.discard(case_id)
        self.write()

    def skip(self, case_id: str, reason: str) -> None:
        """Note that a case is unusable."""
        self.skipped[case_id] = reason
        self.pending.discard(case_id)
        self.write()

    def write(self) -> None:
        """Replace the index file."""
        content = {
            "format_version": FORMAT_VERSION,
            "size": self.size,
            "pending": sorted(self.pending, key=case_order),
            "skipped": self.skipped,
            "cases": {
                key: dataclasses.asdict(self.cases[key])
                for key in sorted(self.cases, key=case_order)
            },
        }
        with atomic_path(self.folder / INDEX_NAME) as temporary:
            temporary.write_text(json.dumps(content) + "\n")
