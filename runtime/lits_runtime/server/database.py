"""The file of a server's state: its tables in SQLite, and one connection to it for all threads."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lits_runtime.errors import OptionsError
from lits_runtime.messages import printable

FORMAT = 1
"""Of the tables, kept as SQLite's user_version."""
_TABLES = """
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
create table if not exists series (
    number integer primary key autoincrement,
    id text not null unique,
    key text not null,
    source text not null,
    state text not null,
    transfer text not null,
    modality text not null,
    body_part text not null,
    description text not null,
    frames integer not null,
    created real not null,
    settled real,
    images integer not null default 0,
    reason text,
    audited integer not null default 0
);
create index if not exists series_by_state on series (state, number);
create table if not exists outbox (
    number integer primary key autoincrement,
    job text not null,
    kind text not null,
    peer text not null,
    key text not null,
    state text not null,
    attempts integer not null default 0,
    since real not null,
    due real not null,
    settled real,
    error text,
    audited integer not null default 0,
    unique (job, kind, peer)
);
create index if not exists outbox_by_state on outbox (state, peer, due);
"""
"""A series is received by the DICOM node, and becomes the job of the same id; the outbox holds the
results of jobs that go to its peers. Keys are hashes of Series Instance UIDs."""


class Database:
    """The tables of one server, in a file that only its process writes to.

    A change is committed to disk before its block ends (WAL, synchronous=FULL).

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
        self._rows.executescript(f"begin; {_TABLES} pragma user_version = {FORMAT}; commit;")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._rows.close()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
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

    def counts(self, table: str) -> dict[str, int]:
        """How many rows of a table there are in each state."""
        return dict(self.read(f"select state, count(*) from {table} group by state"))

    def read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self._lock:
            return self._rows.execute(query, values).fetchall()
