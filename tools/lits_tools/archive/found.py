"""What the records in an output folder say: jobs that are done, and those that failed."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lits_runtime.batch.failures import Failure, failure_of
from lits_runtime.batch.job import FAILED
from lits_runtime.errors import DatasetError, LitsError
from lits_runtime.files.regular_file import read_bounded
from lits_runtime.messages import printable
from lits_runtime.records.record_file import MAX_RECORD_BYTES, record_of
from lits_runtime.records.record_shape import is_complete
from lits_runtime.records.result_files import FOLDER_RECORD
from lits_runtime.stores.uri import is_uri, joined

_AT_ONCE = 16
_MASK = "_mask"


@dataclass(frozen=True)
class FoundJob:
    """One job of an archive."""

    id: str
    """What its results are called, below the output folder."""
    record: dict[str, Any] | None = None
    """If it is done."""
    failure: Failure | None = None
    """If it failed."""
    files: tuple[str, ...] = ()
    """Paths or URIs of its results."""

    @property
    def state(self) -> str:
        """One of "done", "failed" and "quarantined"."""
        return "done" if self.failure is None else self.failure.state


def found_jobs(output: str) -> Iterator[FoundJob]:
    """Every job of which there is a record in a folder or below a prefix, once.

    Those that are done come first, then those that failed, by name. What failed after it was done
    has failed.

    Raises:
        DatasetError: there is no such folder.
        StoreError: a store does not answer.
    """
    names = sorted(_names(output))
    records = [name for name in names if not name.endswith(FAILED)]
    failures = [name for name in names if name.endswith(FAILED)]
    failed = {job.id: job for job in _jobs(output, failures)}
    yield from (job for job in _jobs(output, records) if job.id not in failed)
    yield from (failed[name] for name in sorted(failed))


def _jobs(output: str, names: Sequence[str]) -> Iterator[FoundJob]:
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for start in range(0, len(names), _AT_ONCE * 64):
            part = names[start : start + _AT_ONCE * 64]
            for job in threads.map(lambda name: _job(output, name), part):
                if job is not None:
                    yield job


def _names(output: str) -> Iterator[str]:
    if is_uri(output):
        from lits_runtime.stores.objects import listed

        prefix = output.rstrip("/") + "/"
        yield from (uri.removeprefix(prefix) for uri in listed(output) if uri.endswith(".json"))
        return
    if not os.path.isdir(output):
        raise DatasetError(f"{printable(output)}: no such folder of results")
    for folder, _, files in os.walk(output):
        place = Path(folder).relative_to(output)
        yield from ((place / name).as_posix() for name in files if name.endswith(".json"))


def _job(output: str, name: str) -> FoundJob | None:
    content = _content(output, name)
    if content is None:
        return None
    folder, _, file = name.rpartition("/")
    if file.startswith("."):
        failure = failure_of(content) if file.endswith(FAILED) else None
        name = f"{folder}/{file.removeprefix('.').removesuffix(FAILED)}".lstrip("/")
        return None if failure is None else FoundJob(name, failure=failure)
    record = record_of(content)
    if record is None or not is_complete(record):
        return None
    files = tuple(joined(output, f"{folder}/{one}".lstrip("/")) for one in record.get("files", {}))
    return FoundJob(folder if file == FOLDER_RECORD else _id(folder, file), record, files=files)


def _id(folder: str, target: str) -> str:
    """The name of a job by its record beside a mask.

    >>> _id("deep", "a_mask.json")
    'deep/a'
    """
    return f"{folder}/{target.removesuffix('.json').removesuffix(_MASK)}".lstrip("/")


def _content(output: str, name: str) -> bytes | None:
    try:
        if not is_uri(output):
            return read_bounded(Path(output, name), MAX_RECORD_BYTES, LitsError)
        from lits_runtime.stores.objects import read

        return read(joined(output, name), MAX_RECORD_BYTES)
    except (OSError, LitsError):  # gone, or no record of ours
        return None
