"""The queue as a table in SQLite: each change of a job is one committed transaction."""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lits_runtime.errors import OptionsError
from lits_runtime.messages import printable
from lits_runtime.server.queue.job import Job, State

FORMAT = 1
"""Of the table, kept as SQLite's user_version."""
_TABLE = """
create table if not exists jobs (
    number integer primary key autoincrement,
    id text not null unique,
    state text not null,
    attempts integer not null default 0,
    ending text not null,
    bytes integer not null,
    options text not null,
    client text not null,
    created real not null,
    started real,
    finished real,
    error text,
    report text,
    audited integer not null default 0
);
create index if not exists jobs_by_state on jobs (state, number);
"""
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
        self._lock = threading.Lock()
        self._rows = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._rows.execute("pragma journal_mode = wal")
        self._rows.execute("pragma synchronous = full")
        (found,) = self._rows.execute("pragma user_version").fetchone()
        if found > FORMAT:
            raise OptionsError(
                f"{printable(str(path))} has format {found}, expected at most {FORMAT}: it belongs "
                "to a newer lits-toolkit; install that, or take another --state"
            )
        self._rows.executescript(f"begin; {_TABLE} pragma user_version = {FORMAT}; commit;")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._rows.close()

    def add(self, job_id: str, ending: str, size: int, options: dict[str, Any], client: str) -> Job:
        """Accept a job, whose scan is on disk."""
        values = (job_id, State.QUEUED, ending, size, json.dumps(options), client, time.time())
        with self._change() as rows:
            rows.execute(
                "insert into jobs (id, state, ending, bytes, options, client, created) "
                "values (?, ?, ?, ?, ?, ?, ?)",
                values,
            )
        return self._known(job_id)

    def get(self, job_id: str) -> Job | None:
        """A job; None if there is none of this id."""
        found = self._jobs("where id = ?", job_id)
        return found[0] if found else None

    def latest(self, limit: int) -> list[Job]:
        """The jobs that were accepted last, newest first."""
        return self._jobs("order by number desc limit ?", limit)

    def ids(self) -> set[str]:
        """Of all jobs."""
        return {found for (found,) in self._read("select id from jobs")}

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
            return done.rowcount == 1

    def finished_before(self, moment: float) -> list[str]:
        """Ids of jobs that ended before a moment."""
        return [found for (found,) in self._read("select id from jobs where finished < ?", moment)]

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

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """A transaction, committed at the end of the block and rolled back by any error."""
        with self._lock:
            self._rows.execute("begin immediate")
            try:
                yield self._rows
                self._rows.execute("commit")
            except BaseException:
                if self._rows.in_transaction:
                    self._rows.execute("rollback")
                raise

    def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._rows.execute(query, values).fetchall()

    def _known(self, job_id: str) -> Job:
        return self._jobs("where id = ?", job_id)[0]

    def _jobs(self, which: str, *values: object) -> list[Job]:
        return [_job(row) for row in self._read(f"select {_FIELDS} from jobs {which}", *values)]


def _job(row: tuple[Any, ...]) -> Job:
    job_id, number, state, attempts, ending, size, options, *times, error, report = row
    client, created, started, finished = times
    return Job(
        *(job_id, number, State(state), attempts, ending, size, json.loads(options), client),
        *(created, started, finished, error, None if report is None else json.loads(report)),
    )
