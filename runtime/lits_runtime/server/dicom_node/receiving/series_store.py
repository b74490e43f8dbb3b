"""Series that come in, as a table beside the jobs that they become."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lits_runtime.server.database import Database
from lits_runtime.server.dicom_node.receiving.image import Image
from lits_runtime.server.queue.job import OPEN_STATES, State
from lits_runtime.server.queue.store import insert_job


class SeriesState(StrEnum):
    """Where a series is."""

    RECEIVING = "receiving"
    QUEUED = "queued"
    """It is a job."""
    SKIPPED = "skipped"
    """No rule takes it, or it came twice."""
    ENDED = "ended"
    """Its job has ended, and what came of it is in the outbox."""


class Transfer(StrEnum):
    """How the last association that sent images of a series stands."""

    OPEN = "open"
    RELEASED = "released"
    ABORTED = "aborted"


@dataclass(frozen=True)
class Incoming:
    """A row of the table."""

    number: int
    id: str
    """Of the job that it becomes."""
    key: str
    """Stands for its UID."""
    source: str
    """AE title and address of its sender."""
    state: SeriesState
    transfer: Transfer
    modality: str
    body_part: str
    description: str
    frames: int
    """Of each of its files."""
    created: float
    settled: float | None
    images: int
    reason: str | None
    """Why it was skipped."""

    @property
    def calling_ae(self) -> str:
        """Of its sender."""
        return self.source.rpartition("@")[0]


@dataclass(frozen=True)
class EarlierJob:
    """What a series became when it came before."""

    id: str
    state: State


_FIELDS = (
    "number, id, key, source, state, transfer, modality, body_part, description, frames, created, "
    "settled, images, reason"
)


class SeriesStore:
    """The series of one server; each change is one committed transaction.

    Args:
        database: of the jobs, too.
    """

    def __init__(self, database: Database) -> None:
        self._change, self._read = database.change, database.read

    def begin(self, job_id: str, image: Image, source: str) -> None:
        """Note a series with its first image."""
        values = (job_id, image.key, source, SeriesState.RECEIVING, Transfer.OPEN, image.modality)
        values_too = (image.body_part, image.description, image.frames, time.time())
        with self._change() as rows:
            rows.execute(
                "insert into series (id, key, source, state, transfer, modality, body_part, "
                "description, frames, created) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, *values_too),
            )

    def set_transfer(self, job_id: str, transfer: Transfer) -> None:
        """Note how the last association stands."""
        with self._change() as rows:
            rows.execute("update series set transfer = ? where id = ?", (transfer, job_id))

    def get(self, job_id: str) -> Incoming | None:
        """A series; None if there is none of this id."""
        found = self._series("where id = ?", job_id)
        return found[0] if found else None

    def receiving(self) -> list[Incoming]:
        """Those that still come in."""
        return self._series("where state = ? order by number", SeriesState.RECEIVING)

    def is_ours(self, key: str) -> bool:
        """Whether a series is one of the results that went out, or will."""
        return bool(self._read("select 1 from outbox where key = ? limit 1", key))

    def latest(self, limit: int) -> list[Incoming]:
        """Those that began last, newest first."""
        return self._series("order by number desc limit ?", limit)

    def earlier_job(self, series: Incoming) -> EarlierJob | None:
        """The last job of the same series, unless it was cancelled."""
        found = self._read(
            "select jobs.id, jobs.state from series join jobs on jobs.id = series.id "
            "where series.key = ? and series.number < ? and jobs.state != ? "
            "order by series.number desc limit 1",
            *(series.key, series.number, State.CANCELLED),
        )
        return EarlierJob(found[0][0], State(found[0][1])) if found else None

    def queue(self, series: Incoming, images: int, size: int, options: dict[str, Any]) -> None:
        """Make a complete series a job."""
        with self._change() as rows:
            insert_job(rows, series.id, "", size, options, series.source)
            rows.execute(
                "update series set state = ?, settled = ?, images = ? where id = ?",
                (SeriesState.QUEUED, time.time(), images, series.id),
            )

    def skip(self, series: Incoming, images: int, reason: str) -> None:
        """Settle a complete series that does not become a job."""
        with self._change() as rows:
            rows.execute(
                "update series set state = ?, settled = ?, images = ?, reason = ? where id = ?",
                (SeriesState.SKIPPED, time.time(), images, reason, series.id),
            )

    def with_ended_jobs(self) -> list[str]:
        """Queued series whose jobs have ended, or are gone."""
        found = self._read(
            "select series.id from series left join jobs on jobs.id = series.id "
            "where series.state = ? and (jobs.id is null or jobs.state not in (?, ?)) "
            "order by series.number",
            *(SeriesState.QUEUED, *OPEN_STATES),
        )
        return [job_id for (job_id,) in found]

    def forget_before(self, moment: float) -> None:
        """Forget settled series of which there is no job any more."""
        with self._change() as rows:
            rows.execute(
                "delete from series where settled < ? and audited and state in (?, ?) "
                "and id not in (select id from jobs)",
                (moment, SeriesState.SKIPPED, SeriesState.ENDED),
            )

    def unaudited(self) -> list[Incoming]:
        """Settled series without a line in the audit log."""
        return self._series("where settled is not null and not audited order by settled")

    def audited(self, series: Sequence[Incoming]) -> None:
        """Note that series have their lines."""
        with self._change() as rows:
            rows.executemany(
                "update series set audited = 1 where id = ?", [(one.id,) for one in series]
            )

    def _series(self, which: str, *values: object) -> list[Incoming]:
        rows = self._read(f"select {_FIELDS} from series {which}", *values)
        return [Incoming(*_typed(row)) for row in rows]


def _typed(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*row[:4], SeriesState(row[4]), Transfer(row[5]), *row[6:])
