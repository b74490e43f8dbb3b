"""What becomes of complete series: each is a job, or skipped with the reason."""

import logging
import os
from collections.abc import Collection

from lits_runtime.server.dicom_node.receiving.reception import Reception
from lits_runtime.server.dicom_node.receiving.rules import Rules
from lits_runtime.server.dicom_node.receiving.series_store import (
    Incoming,
    SeriesState,
    SeriesStore,
    Transfer,
)
from lits_runtime.server.queue.audit import moment
from lits_runtime.server.queue.dispatcher import Dispatcher
from lits_runtime.server.queue.job import OPEN_STATES, State
from lits_runtime.server.queue.state_folder import sync

logger = logging.getLogger(__name__)
BROKEN_OFF = "the sender broke off the transfer of this series: slices at its ends may be missing"


class Clerk:
    """Settles complete series, one after the other.

    Args:
        dispatcher: takes the jobs.
        reception: knows which series are complete.
        store: of the series.
        rules: which of them are wanted.
    """

    def __init__(
        self, dispatcher: Dispatcher, reception: Reception, store: SeriesStore, rules: Rules
    ) -> None:
        self._dispatcher, self._folder = dispatcher, dispatcher.folder
        self._reception, self._store, self._rules = reception, store, rules

    def settle(self) -> None:
        """Settle what is complete, as far as the queue has room.

        Raises:
            OSError, sqlite3.Error: the disk is full; nothing is lost.
        """
        complete = self._reception.complete()
        try:
            while complete and self._dispatcher.has_room:
                self._settle(complete[0])
                complete.pop(0)
        finally:
            self._reception.put_back(complete)

    def _settle(self, series: Incoming) -> None:
        if (now := self._store.get(series.id)) is None or now.state != SeriesState.RECEIVING:
            return  # it was settled, but something failed after that
        files, earlier = self._files(series.id), self._store.earlier_job(series)
        reason = None if files else "no image was kept"
        if earlier is not None and reason is None:
            before = self._files(earlier.id)
            if files.keys() <= before.keys() and earlier.state != State.FAILED:
                reason = f"it came before, as job {earlier.id}"
            else:
                self._add_earlier(series, earlier.id, before.keys() - files.keys())
                files |= before
        images = len(files) * series.frames
        reason = reason or self._rules.refusal(series, images)
        if reason is not None:
            self._store.skip(series, images, reason)
            self._folder.remove(series.id)
            logger.info("series %s: skipped: %s", series.id[:8], reason)
            return
        if earlier is not None and earlier.state in OPEN_STATES:  # it has part of the images only
            self._dispatcher.remove(earlier.id)
        notes = {"notes": [BROKEN_OFF]} if series.transfer == Transfer.ABORTED else {}
        self._store.queue(series, images, sum(files.values()), notes)
        self._dispatcher.wake()
        logger.info("series %s: complete, %d images, job %s", series.id[:8], images, series.id)

    def _add_earlier(self, series: Incoming, job_id: str, names: Collection[str]) -> None:
        """Give a series those of its images that came before, by a second name of each file."""
        folder, before = self._folder.series(series.id), self._folder.series(job_id)
        for name in names:
            if not (folder / name).exists():
                os.link(before / name, folder / name)
        sync(folder)
        if names:
            logger.info(
                "series %s: with %d images of job %s", series.id[:8], len(names), job_id[:8]
            )

    def _files(self, job_id: str) -> dict[str, int]:
        """Names and sizes of the images of a series."""
        folder = self._folder.series(job_id)
        if not folder.is_dir():
            return {}
        return {file.name: file.stat().st_size for file in os.scandir(folder)}

    def tidy(self, before: float) -> None:
        """Write missing lines of the audit log, and forget series settled before a moment.

        Raises:
            OSError, sqlite3.Error: the disk is full; it is done later.
        """
        series = self._store.unaudited()
        if series:
            self._dispatcher.note([_entry(one) for one in series])
            self._store.audited(series)
        self._store.forget_before(before)


def _entry(series: Incoming) -> dict[str, object]:
    return {
        "series": series.id,
        "state": "skipped" if series.reason else "queued",
        "from": series.source,
        "received": moment(series.created),
        "settled": moment(series.settled),
        "images": series.images,
        "broken_off": series.transfer == Transfer.ABORTED,
        "reason": series.reason,
    }
