"""How an attempt at a job ends: what is committed, and what becomes of its files."""

import logging
import sqlite3
import time
from collections.abc import Callable
from typing import Any

from lits_runtime.server.queue.job import Job, State
from lits_runtime.server.queue.state_folder import StateFolder
from lits_runtime.server.queue.store import JobStore

logger = logging.getLogger(__name__)
RETRY_S = 2.0
"""Before another try when the disk is full."""


class Settlement:
    """Ends attempts; on a full disk it waits until the end can be committed.

    Args:
        store: of the jobs.
        folder: of their files.
        attempts: in which workers may die before a job fails.
        changed: called after each.
    """

    def __init__(
        self, store: JobStore, folder: StateFolder, attempts: int, changed: Callable[[], None]
    ) -> None:
        self._store, self._folder, self._attempts = store, folder, attempts
        self._changed = changed
        self.is_ending = False
        """Whether the server ends: then nothing waits for the disk."""

    def done(self, job: Job, report: dict[str, Any]) -> None:
        """The mask is there."""

        def complete() -> bool:
            self._folder.settle(job)
            return self._store.complete(job, report)

        self._commit(job, complete)

    def failed(self, job: Job, error: str) -> None:
        """There will be no mask."""
        self._commit(job, lambda: self._store.fail(job, error))

    def handed_back(self, job: Job) -> None:
        """The attempt was stopped, by nobody's fault."""
        self._commit(job, lambda: self._store.give_back(job, counted=False))

    def worker_died(self, job: Job, reason: str) -> None:
        """The job may be what kills its workers: it is put back so many times only."""
        logger.error("job %s, attempt %d: %s", job.id, job.attempts, reason)
        if job.attempts < self._attempts:
            self._commit(job, lambda: self._store.give_back(job, counted=True))
        else:
            self.failed(
                job, f"{reason} in each of {job.attempts} attempts; is there enough memory?"
            )

    def _commit(self, job: Job, change: Callable[[], bool]) -> None:
        """Commit a change as soon as the disk takes it; remove the files of a cancelled job."""
        while True:
            try:
                if not change() and _is_gone(self._store.get(job.id)):
                    self._folder.remove(job.id)
                break
            except FileNotFoundError:  # cancelled: its files were removed
                self._folder.remove(job.id)
                break
            except (OSError, sqlite3.Error) as error:
                logger.error("the queue cannot be written: %s", error)
                if self.is_ending:
                    return  # the job stays begun, and the next server does it again
                time.sleep(RETRY_S)
        self._changed()


def _is_gone(job: Job | None) -> bool:
    return job is None or job.state == State.CANCELLED
