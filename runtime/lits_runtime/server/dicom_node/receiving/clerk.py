"""What becomes of complete series: each is a job, or skipped with the reason."""

import logging
import os

from lits_runtime.server.dicom_node.receiving.reception import Reception
from lits_runtime.server.dicom_node.receiving.rules import Rules
from lits_runtime.server.dicom_node.receiving.series_store import (
    Incoming,
    SeriesStore,
    Transfer,
)
from lits_runtime.server.queue.audit import moment
from lits_runtime.server.queue.dispatcher import Dispatcher
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
        files = self._files(series.id)
        earlier = self._store.earlier_job(series)
        if earlier is not None:
            files = self._with_earlier(series, files, *earlier)
        images = len(files) * series.frames
        reason = self._reason(series, images, earlier, files)
        if reason is not None:
            self._store.skip(series, images, reason)
            self._folder.remove(series.id)
            logger.info("series %s: skipped: %s", series.id[:8], reason)
            return
        notes = [BROKEN_OFF] if series.transfer == Transfer.ABORTED else []
        size = sum(files.values())
        self._store.queue(series, images, size, {"notes": notes} if notes else {})
        self._dispatcher.wake()
        if earlier is not None and earlier[1]:  # it has part of the images only
            self._dispatcher.remove(earlier[0])
        logger.info("series %s: complete, %d images, job %s", series.id[:8], images, series.id)

    def _reason(
        self,
        series: Incoming,
        images: int,
        earlier: tuple[str, bool] | None,
        files: dict[str, int],
    ) -> str | None:
        """Why a series does not become a job; None if it does."""
        if not files:
            return "no image was kept"
        if earlier is not None and files.keys() == self._files(earlier[0]).keys():
            return f"it came before, as job {earlier[0]}"
        return self._rules.refusal(series, images)

    def _with_earlier(
        self, series: Incoming, files: dict[str, int], job_id: str, is_open: bool
    ) -> dict[str, int]:
        """All images of a series of which some came before, in its folder by a second name."""
        before = self._files(job_id)
        folder, missing = self._folder.series(series.id), before.keys() - files.keys()
        if files.keys() <= before.keys():
            return before
        for name in missing:
            os.link(self._folder.series(job_id) / name, folder / name)
        sync(folder)
        logger.info(
            "series %s: %d images came after job %s was queued; a new job has all of them",
            *(series.id[:8], len(files), job_id),
        )
        return self._files(series.id)

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
