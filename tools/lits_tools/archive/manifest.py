"""The manifest of an archive: one row for each scan that a plan finds."""

import logging
from collections.abc import Sequence
from pathlib import Path

from lits_runtime.batch.job import Job
from lits_runtime.batch.jobs import plan
from lits_runtime.batch.lists.manifest import as_manifest, read_manifest
from lits_runtime.batch.lists.row import Row
from lits_runtime.files.atomic import atomic_path
from lits_runtime.stores.uri import is_uri
from lits_runtime.volumes.names import stem_and_ending

logger = logging.getLogger(__name__)

_MASK = "_mask"


def planned_rows(scans: "Sequence[Path | str | Row]") -> tuple[list[Row], list[Job]]:
    """A row and a job for each scan that is named; a name without one is logged.

    Raises:
        OptionsError: a URI of a store that we do not know.
    """
    jobs = plan(scans, Path())
    sound = [job for job in jobs if job.problem is None]
    for job in jobs:
        if job.problem is not None:
            logger.warning("warning: %s: %s", job.name, job.problem)
    return [_row(job) for job in sound], sound


def listed_ids(name: str) -> list[str]:
    """The ids of a manifest, which `planned_rows` gave, or by the names of its scans."""
    return [row.id or _id_of(row) for row in read_manifest(name)]


def listed_scans(name: str) -> dict[str, str]:
    """Where the scans of a manifest are, by id."""
    return {row.id or _id_of(row): row.uri for row in read_manifest(name)}


def write_manifest(rows: Sequence[Row], path: Path) -> None:
    """Write a manifest, whole or not at all; its ending says in which form."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(as_manifest(rows, path.suffix))


def _row(job: Job) -> Row:
    remote = job.remote
    options = {}
    if job.series is not None:
        options["series"] = job.series.uid
    elif remote is not None and remote.wanted is not None:
        options["series"] = remote.wanted
    where = str(job.scan) if remote is None or remote.source is None else remote.source
    return Row(where, _id(job.mask), options)


def _id(target: Path) -> str:
    return target.with_name(stem_and_ending(target.name)[0].removesuffix(_MASK)).as_posix()


def _id_of(row: Row) -> str:
    name = row.uri.rstrip("/").rpartition("/")[2] if is_uri(row.uri) else Path(row.uri).name
    return stem_and_ending(name)[0]
