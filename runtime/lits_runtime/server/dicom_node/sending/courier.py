"""Delivers the results of jobs to the peers: a thread for each, so that none waits for another."""

import logging
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from lits_runtime.errors import LitsError
from lits_runtime.server.dicom_node.receiving.image import read_image
from lits_runtime.server.dicom_node.receiving.series_store import SeriesStore
from lits_runtime.server.dicom_node.sending.outbox import Delivery, Made, Outbox
from lits_runtime.server.dicom_node.sending.undelivered import PeerError
from lits_runtime.server.queue.audit import moment
from lits_runtime.server.queue.dispatcher import Dispatcher
from lits_runtime.server.queue.job import Job, State

logger = logging.getLogger(__name__)
KINDS = ("seg", "sr")
"""What is sent of the results of a job."""
_LOOK_S = 1.0


class Sender(Protocol):
    """A protocol with its peer."""

    def send(self, files: Sequence[Path]) -> list[str | None]:
        """Send objects; for each None if the peer has it, or else the reason."""


class Courier:
    """Fills the outbox from jobs that are done, and empties it.

    Args:
        dispatcher: of the jobs.
        store: of the series.
        outbox: of the results.
        senders: by the name of the peer.
        give_up_s: how long a delivery is tried.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        store: SeriesStore,
        outbox: Outbox,
        senders: Mapping[str, Sender],
        give_up_s: float,
    ) -> None:
        self._dispatcher, self._store, self._outbox = dispatcher, store, outbox
        self._senders, self._give_up_s = senders, give_up_s
        self._stopping, self._tidying = threading.Event(), threading.Lock()
        self._threads = [
            threading.Thread(target=self._deliver, args=(name,), name=f"to {name}", daemon=True)
            for name in senders
        ]

    def start(self) -> None:
        """Begin to deliver."""
        self._outbox.bury(list(self._senders))
        for thread in self._threads:
            thread.start()

    def stop(self, patience_s: float) -> None:
        """End the threads; one that is in the middle of a delivery repeats it at the next start."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(patience_s)

    def fill(self) -> None:
        """Put results of series' jobs that have ended into the outbox.

        Raises:
            OSError, sqlite3.Error: the disk is full; it is done later.
        """
        for job_id in self._store.with_ended_jobs():
            job = self._dispatcher.store.get(job_id)
            made = [] if job is None or job.state != State.DONE else self._made(job)
            self._outbox.fill(job_id, made)

    def retry(self) -> int:
        """Try all deliveries that are not made once more; how many there are."""
        self.tidy()  # what is given up stays in the audit log
        return self._outbox.retry()

    def send_again(self, job: Job) -> int:
        """Put the results of a job that is done in again; how many deliveries that makes."""
        self.tidy()
        made = self._made(job)
        self._outbox.send_again(job.id, made)
        return len(made)

    def _made(self, job: Job) -> list[Made]:
        files = self._dispatcher.folder.results(job)
        return [
            (kind, name, _key(files[kind]))
            for kind in KINDS
            if kind in files  # there is no SEG of nothing
            for name in self._senders
        ]

    def tidy(self) -> None:
        """Write missing lines of the audit log.

        Raises:
            OSError, sqlite3.Error: the disk is full; it is done later.
        """
        with self._tidying:
            settled = self._outbox.unaudited()
            if settled:
                self._dispatcher.note([_entry(one) for one in settled])
                self._outbox.audited(settled)

    def _deliver(self, peer: str) -> None:
        while not self._stopping.is_set():
            try:
                if self._deliver_due(peer):
                    continue
            except (OSError, sqlite3.Error) as error:
                logger.error("deliveries to %s: %s", peer, error)
            self._stopping.wait(_LOOK_S)

    def _deliver_due(self, peer: str) -> bool:
        """Deliver what is due of one job; whether there was any."""
        due = self._outbox.due(peer)
        if not due:
            return False
        job = self._dispatcher.store.get(due[0].job)
        files = {} if job is None else self._dispatcher.folder.results(job)
        if any(one.kind not in files for one in due):
            self._failed(due, "the files are gone", give_up_s=0.0)
            return True
        try:
            errors = self._senders[peer].send([files[one.kind] for one in due])
        except PeerError as error:  # all that waits for it waits longer
            self._failed(self._outbox.waiting(peer), str(error), self._give_up_s)
            return True
        except Exception as error:  # without its text, which may quote the object
            bug = f"{type(error).__name__} (a bug in lits-toolkit: please report it)"
            self._failed(due, bug, self._give_up_s)
            return True
        for one, reason in zip(due, errors, strict=True):
            if reason is None:
                self._outbox.sent(one)
                logger.info("job %s: %s is at %s", one.job[:8], one.kind.upper(), peer)
            else:
                self._failed([one], reason, self._give_up_s)
        return True

    def _failed(self, deliveries: Sequence[Delivery], error: str, give_up_s: float) -> None:
        self._outbox.failed(deliveries, error, give_up_s)
        peer, count = deliveries[0].peer, len(deliveries)
        logger.warning("%d deliveries to %s not made: %s", count, peer, error)


def _key(file: Path) -> str:
    try:
        return read_image(file).key
    except LitsError:  # it is sent all the same, and the peer judges
        return ""


def _entry(delivery: Delivery) -> dict[str, object]:
    return {
        "delivery": delivery.kind,
        "job": delivery.job,
        "peer": delivery.peer,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "settled": moment(delivery.settled),
        "error": delivery.error,
    }
