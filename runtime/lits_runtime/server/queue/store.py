"""The queue as a table in SQLite: each change of a job is one committed transaction."""

import json
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lits_runtime.server.database import Database
from lits_runtime.server.queue.job import Job, State

_FIELDS = (
    "id, number, state, attempts, ending, bytes, options, client, created, started, finished, "
    "error, report"
)


class JobStore:
    """The jobs of one server, in a file that only its process writes to.

    A change is committed to disk before its method returns (WAL, synchronous=FULL). Methods that
    end an attempt name it, and do nothing if the job is no longer in that attempt: so no job is
    completed twice.

    Raises:
        OptionsError: the file was written by a newer version.
        sqlite3.Error: the disk is full or the file is damaged; nothing was changed.
    """

    def __init__(self, path: Path) -> None:
        self.database = Database(path)
        self._change, self._read = self.database.change, self.database.read

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def add(self, job_id: str, ending: str, size: int, options: dict[str, Any], client: str) -> Job:
        """Accept a job, whose scan is on disk."""
        with self._change() as rows:
            insert_job(rows, job_id, ending, size, options, client)
        return self._known(job_id)

    def get(self, job_id: str) -> Job | None:
        """A job; None if there is none of this id."""
        found = self._jobs("where id = ?", job_id)
        return found[0] if found else None

    def latest(self, limit: int) -> list[Job]:
        """The jobs that were accepted last, newest first."""
        return self._jobs("order by number desc limit ?", limit)

    def ids(self) -> set[str]:
        """Of all jobs, and of the series that are received and will be jobs."""
        query = "select id from jobs union select id from series where state = 'receiving'"
        return {found for (found,) in self._read(query)}

    def position(self, job: Job) -> int:
        """The place in the queue, 1 for the next job; 0 for one that no longer waits."""
        if job.state != State.QUEUED:
            return 0
        query = "select count(*) from jobs where state = ? and number <= ?"
        found: int = self._read(query, State.QUEUED, job.number)[0][0]
        return max(1, found)  # it may have been begun since it was read

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state."""
        found = dict(self._read("select state, count(*) from jobs group by state"))
        return {state: found.get(state, 0) for state in State}

    def oldest(self) -> float | None:
        """When the job that has waited longest was accepted; None if none waits."""
        query = "select min(created) from jobs where state = ?"
        found: float | None = self._read(query, State.QUEUED)[0][0]
        return found

    def claim(self) -> Job | None:
        """Begin the job that has waited longest; None if none waits."""
        with self._change() as rows:
            query = "select id from jobs where state = ? order by number limit 1"
            found = rows.execute(query, (State.QUEUED,)).fetchone()
            if found is None:
                return None
            rows.execute(
                "update jobs set state = ?, attempts = attempts + 1, started = ? where id = ?",
                (State.RUNNING, time.time(), found[0]),
            )
        return self._known(found[0])

    def give_back(self, job: Job, *, counted: bool) -> bool:
        """Put a begun job back; it keeps its place. `counted`: the attempt was its own fault."""
        return self._end(
            job, "state = ?, attempts = attempts - ?", State.QUEUED, 0 if counted else 1
        )

    def complete(self, job: Job, report: dict[str, Any]) -> bool:
        """End a begun job, whose results are on disk; whether it was still in this attempt."""
        text = json.dumps(report)
        return self._end(job, "state = ?, report = ?, finished = ?", State.DONE, text, time.time())

    def fail(self, job: Job, error: str) -> bool:
        """End a begun job with the reason; whether it was still in this attempt."""
        return self._end(
            job, "state = ?, error = ?, finished = ?", State.FAILED, error, time.time()
        )

    def cancel(self, job_id: str) -> bool:
        """Cancel a job that has still to be done; whether it had."""
        with self._change() as rows:
            done = rows.execute(
                "update jobs set state = ?, finished = ? where id = ? and state in (?, ?)",
                (State.CANCELLED, time.time(), job_id, State.QUEUED, State.RUNNING),
            )
            return done.rowcount == 1

    def remove(self, job_id: str) -> bool:
        """Forget a finished job, once it is audited; whether there was one."""
        with self._change() as rows:
            done = rows.execute(
                "delete from jobs where id = ? and state not in (?, ?)",
                (job_id, State.QUEUED, State.RUNNING),
            )
            if done.rowcount == 1:
                rows.execute("delete from outbox where job = ?", (job_id,))
            return done.rowcount == 1

    def finished_before(self, moment: float) -> list[str]:
        """Ids of jobs that ended before a moment, and of which nothing was sent since."""
        query = (
            "select id from jobs where finished < ? and id not in "
            "(select job from outbox where settled is null or settled >= ?)"
        )
        return [found for (found,) in self._read(query, moment, moment)]

    def interrupted(self) -> list[Job]:
        """Jobs that were running when the last server ended."""
        return self._jobs("where state = ? order by number", State.RUNNING)

    def unaudited(self) -> list[Job]:
        """Ended jobs without a line in the audit log."""
        return self._jobs("where finished is not null and not audited order by finished")

    def audited(self, jobs: Sequence[Job]) -> None:
        """Note that jobs have their lines."""
        with self._change() as rows:
            rows.executemany(
                "update jobs set audited = 1 where id = ?", [(job.id,) for job in jobs]
            )

    def _end(self, job: Job, change: str, *values: object) -> bool:
        with self._change() as rows:
            done = rows.execute(
                f"update jobs set {change} where id = ? and state = ? and attempts = ?",
                (*values, job.id, State.RUNNING, job.attempts),
            )
            return done.rowcount == 1

    def _known(self, job_id: str) -> Job:
        return self._jobs("where id = ?", job_id)[0]

    def _jobs(self, which: str, *values: object) -> list[Job]:
        return [_job(row) for row in self._read(f"select {_FIELDS} from jobs {which}", *values)]


def insert_job(
    rows: sqlite3.Connection,
    job_id: str,
    ending: str,
    size: int,
    options: dict[str, Any],
    client: str,
) -> None:
    """Put a job into the queue, within a transaction."""
    values = (job_id, State.QUEUED, ending, size, json.dumps(options), client, time.time())
    rows.execute(
        "insert into jobs (id, state, ending, bytes, options, client, created) "
        "values (?, ?, ?, ?, ?, ?, ?)",
        values,
    )


def _job(row: tuple[Any, ...]) -> Job:
    job_id, number, state, attempts, ending, size, options, *times, error, report = row
    client, created, started, finished = times
    return Job(
        *(job_id, number, State(state), attempts, ending, size, json.loads(options), client),
        *(created, started, finished, error, None if report is None else json.loads(report)),
    )
