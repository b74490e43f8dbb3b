"""The queue at work: accepts jobs, hands them to the devices, and clears up after them."""

import logging
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from lits_runtime.model.checked_file import ModelFile
from lits_runtime.server.queue import audit
from lits_runtime.server.queue.device import Device
from lits_runtime.server.queue.job import Job, State
from lits_runtime.server.queue.orders import Infer, Show, Tensor
from lits_runtime.server.queue.state_folder import StateFolder
from lits_runtime.server.queue.store import JobStore
from lits_runtime.server.settings import Settings

logger = logging.getLogger(__name__)
_CLEAR_UP_S = 30.0


class Dispatcher:
    """The jobs of one server, from acceptance to removal.

    Args:
        settings: of the server.
        model: that the workers open.
    """

    def __init__(self, settings: Settings, model: ModelFile) -> None:
        self.settings, self.model = settings, model
        self.folder = StateFolder(settings.state)
        self.store = JobStore(self.folder.queue)
        self._clear_up_now = threading.Event()
        self.devices = [
            Device(self.store, self.folder, settings, device_id, self._clear_up_now.set)
            for device_id in settings.device_ids
        ]
        self.ended: Counter[State] = Counter()
        """Jobs that ended since the start."""
        self._receiving, self._room = 0, threading.Lock()
        self._auditing = threading.Lock()
        self._stopping = threading.Event()
        self._cleaner = threading.Thread(target=self._clear_up, name="clear up")

    def start(self) -> None:
        """Take up what an earlier server left, and open the model on every device.

        Raises:
            ProviderError: the model does not open on a device.
        """
        for job in self.store.interrupted():
            if job.attempts < self.settings.attempts:
                self.store.give_back(job, counted=True)
            else:
                times = f"in each of {job.attempts} attempts"
                self.store.fail(job, f"the server ended {times}; is there enough memory?")
        self.folder.remove_all_but(self.store.ids())
        started: list[Device] = []
        try:
            for device in self.devices:
                device.start()
                started.append(device)
        except BaseException:
            self._stop(started, 0.0)
            raise
        self._cleaner.start()

    def stop(self) -> None:
        """Finish or hand back the jobs in hand, and end the workers."""
        self._stopping.set()
        self._clear_up_now.set()
        self._stop(self.devices, self.settings.grace_s)
        self._cleaner.join()
        self._write_audit()
        self.store.close()
        self.folder.close()

    def _stop(self, devices: list[Device], grace_s: float) -> None:
        for device in devices:
            device.stop(grace_s)
        for device in devices:
            device.join()

    @property
    def is_ready(self) -> bool:
        """Whether a job that is sent now would be worked on."""
        return not self._stopping.is_set() and any(device.is_ready for device in self.devices)

    @property
    def has_room(self) -> bool:
        """Whether the queue takes another job."""
        return not self._stopping.is_set() and self._open_jobs() < self.settings.max_jobs

    def reserve(self) -> bool:
        """Hold a place in the queue for an upload; False if it is full or closing."""
        with self._room:
            if not self.has_room:
                return False
            self._receiving += 1
            return True

    def release(self) -> None:
        """Let go of a place that `reserve` held."""
        with self._room:
            self._receiving -= 1

    def _open_jobs(self) -> int:
        counts = self.store.counts()
        return self._receiving + counts[State.QUEUED] + counts[State.RUNNING]

    def accept(
        self, job_id: str, ending: str, size: int, options: dict[str, Any], client: str
    ) -> Job:
        """Accept an upload that was written and synced: it is done, whatever happens from now on.

        Raises:
            OSError, sqlite3.Error: the disk is full; nothing is left of the job.
        """
        try:
            self.folder.accept(job_id, ending)
            job = self.store.add(job_id, ending, size, options, client)
        except (OSError, sqlite3.Error):
            self.folder.remove(job_id)
            raise
        self.wake()
        return job

    def wake(self) -> None:
        """Let the devices look at the queue now."""
        for device in self.devices:
            device.wake()

    def note(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Write entries to the audit log.

        Raises:
            OSError: the disk is full.
        """
        with self._auditing:
            audit.append(self.folder.audit, entries)

    def remove(self, job_id: str) -> bool:
        """Cancel a job that is not done and remove its files, or forget one that is.

        Returns:
            Whether there was such a job.
        """
        if self.store.cancel(job_id):
            for device in self.devices:
                device.cancel(job_id)
            self.folder.remove(job_id)
            self._clear_up_now.set()
            return True
        self._write_audit()
        removed = self.store.remove(job_id)
        if removed:
            self.folder.remove(job_id)
        return removed

    def progress(self, job: Job) -> float | None:
        """The part of a running job that is done, 0 to 1; None for one that waits."""
        if job.state == State.DONE:
            return 1.0
        for device in self.devices:
            found = device.progress
            if found is not None and found[0] == job.id:
                return found[1] / found[2] if found[2] else 0.0
        return None

    def shown(self, job: Job, name: str) -> tuple[Path, "Future[tuple[Tensor, ...]] | None"]:
        """A file for the eye of a job that is done: its name, and when it is there.

        Args:
            job: whose scan and mask are shown.
            name: "overlay.png", or "scan.nii.gz".

        Returns:
            The path, and None in place of a future if no worker is ready to make it.
        """
        scan, mask, path = (
            self.folder.scan(job),
            self.folder.mask(job),
            self.folder.shown(job, name),
        )
        kind = str(job.options.get("mask_kind", "labels"))
        return path, self.ask(Show(scan, mask, kind, path))

    def ask(self, order: Infer | Show) -> "Future[tuple[Tensor, ...]] | None":
        """Give an order to a device that is ready, rather to an idle one; None if none is ready."""
        ready = [device for device in self.devices if device.is_ready]
        if not ready:
            return None
        return min(ready, key=lambda device: device.progress is not None).ask(order)

    def _clear_up(self) -> None:
        while not self._stopping.is_set():
            self._clear_up_now.wait(_CLEAR_UP_S)
            self._clear_up_now.clear()
            try:
                self._write_audit()
                for job_id in self.store.finished_before(time.time() - self.settings.keep_s):
                    if self.store.remove(job_id):
                        self.folder.remove(job_id)
            except (OSError, sqlite3.Error) as error:
                logger.error("clearing up: %s", error)

    def _write_audit(self) -> None:
        """Write the lines that are missing; a crash may repeat one, and loses none."""
        with self._auditing:
            jobs = self.store.unaudited()
            if jobs:
                audit.append(self.folder.audit, map(audit.entry_of, jobs))
                self.store.audited(jobs)
                self.ended.update(job.state for job in jobs)
