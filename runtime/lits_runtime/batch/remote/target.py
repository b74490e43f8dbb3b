"""Where the results of a job go in a store, and what is there already."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from lits_runtime.batch.job_files import JobFiles
from lits_runtime.records.record_file import MAX_RECORD_BYTES, RECORD_VERSION, read_record
from lits_runtime.records.result_files import FOLDER_RECORD
from lits_runtime.stores.objects import Stored, fetch, listed, look, put, put_after, read, remove
from lits_runtime.stores.uri import below, joined, shown


class Target:
    """The results of one job below a prefix, and their likeness in a local folder.

    Args:
        prefix: URI.
        folder: that stands for it.
    """

    def __init__(self, prefix: str, folder: Path) -> None:
        self._prefix, self._folder = prefix, folder
        self._before: Stored | None = None
        """What the store said of the record."""
        self._known: dict[str, Any] | None = None
        """The record that was there."""
        self._older: set[Path] = set()
        """Results that were there."""

    def fetch_record(self, record: Path) -> None:
        """Bring the record, if there is one."""
        uri = self._uri(record)
        self._before = look(uri)
        content = None if self._before is None else read(uri, MAX_RECORD_BYTES)
        if content is not None:
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_bytes(content)
            self._known = read_record(record)

    def holds(self, record: dict[str, Any], path: Path) -> bool:
        """Whether the objects of a record's files are as they were put.

        Args:
            record: as it is there.
            path: of the local likeness of the record.
        """
        store = record.get("store")
        known = store.get("files") if isinstance(store, dict) else None
        if not isinstance(known, dict) or known.keys() != record["files"].keys():
            return False
        for name, facts in known.items():
            found = look(self._uri(path.parent / name))
            if found is None or found.to_json() != facts:
                return False
        return True

    def fetch_results(self, files: JobFiles) -> None:
        """Bring what is there under the names of results, so that the rules for files apply."""
        found: dict[str, Stored | None]
        if files.record.name == FOLDER_RECORD:
            found = dict(listed(self._uri(files.record.parent) + "/"))
        else:
            found = {self._uri(path): look(self._uri(path)) for path in files.results}
        for uri, stored in found.items():
            path = self._folder / below(uri, self._prefix)
            if stored is not None and path != files.record and ".." not in path.parts:
                fetch(uri, path, stored)
                self._older.add(path)

    def put(
        self, record: dict[str, Any], path: Path, scan: dict[str, Any] | None, *, new: bool
    ) -> dict[str, Any]:
        """Put results and record; the record as it is then.

        Args:
            record: of the results.
            path: of the local record.
            scan: what its store says of the scan.
            new: whether the results are, or else the record alone.

        Raises:
            OutputBusyError: another process put them meanwhile.
            StoreError: the store does not answer, or refuses.
        """
        uri, before = self._uri(path), self._before
        names = {name: path.parent / name for name in record["files"]}
        if new:
            before = put_after(_content(self._naming(record)), uri, before)
            files = {name: put(file, self._uri(file)) for name, file in names.items()}
            for older in self._older - set(names.values()):
                if not older.exists():  # one of ours, that nothing takes the place of
                    remove(self._uri(older))
        else:
            looked = {name: look(self._uri(file)) for name, file in names.items()}
            files = {name: stored for name, stored in looked.items() if stored is not None}
        known = {name: stored.to_json() for name, stored in files.items()}
        record = record | {"store": {"scan": scan, "files": known}}
        put_after(_content(record), uri, before)
        return record

    def named(self, text: str) -> str:
        """A message in which the store stands in place of the local folder."""
        return text.replace(str(self._folder), shown(self._prefix).rstrip("/"))

    def _naming(self, record: dict[str, Any]) -> dict[str, Any]:
        """A record that accounts for the files whenever the process is killed."""
        naming = {"record_version": RECORD_VERSION, "state": "naming", "files": record["files"]}
        known = self._known or {}
        replaces = {name: [*facts] for name, facts in known.get("replaces", {}).items()}
        for name, facts in known.get("files", {}).items():
            replaces.setdefault(name, []).append(facts)
        return naming | ({"replaces": replaces} if replaces else {})

    def _uri(self, path: Path) -> str:
        with suppress(ValueError):
            path = path.relative_to(self._folder)
        return joined(self._prefix, path)


def _content(record: dict[str, Any]) -> bytes:
    return (json.dumps(record, indent=1) + "\n").encode()
