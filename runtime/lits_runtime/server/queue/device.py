"""One device: a thread that feeds its worker process, and starts another when that dies."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing import Pipe
from typing import Any

from lits_runtime.errors import ProviderError
from lits_runtime.server.queue import orders
from lits_runtime.server.queue.job import Job
from lits_runtime.server.queue.questions import Questions
from lits_runtime.server.queue.settlement import RETRY_S, Settlement
from lits_runtime.server.queue.state_folder import StateFolder
from lits_runtime.server.queue.store import JobStore
from lits_runtime.server.queue.worker_process import WorkerProcess
from lits_runtime.server.settings import Settings

logger = logging.getLogger(__name__)

_LOOK_S = 1.0
"""How often time limits are looked at."""
_LONGEST_PAUSE_S = 60.0
"""Between starts of a worker that fails to open the model."""
_CANCEL_S = 10.0
"""How long a worker may take to stop."""
_FORMATS = ("nifti", "seg", "sr")
"""Of a DICOM series."""


class Device:
    """Runs the jobs of the queue on one device, one after the other.

    Everything but `ask`, `cancel`, `wake` and `stop` happens in its own thread, so that a worker
    belongs to one thread from its start to its end.

    Args:
        store: of the jobs.
        folder: of their files.
        settings: of the server.
        device_id: which GPU.
        changed: called when a job in hand is settled.
    """

    def __init__(
        self,
        store: JobStore,
        folder: StateFolder,
        settings: Settings,
        device_id: int,
        changed: Callable[[], None],
    ) -> None:
        self._store, self._folder, self._settings = store, folder, settings
        self._device_id = device_id
        self._worker: WorkerProcess | None = None
        self._ready = threading.Event()
        self._first_error: str | None = None
        self._tried = threading.Event()
        self._pause_s, self._not_before = 0.0, 0.0
        self._job: Job | None = None
        self._deadline: float | None = None
        self._cancelled: str | None = None
        self._stop_at: float | None = None
        self._woken, self._wake = Pipe(duplex=False)
        self._waking = threading.Lock()
        self._questions = Questions()
        self._settle = Settlement(store, folder, settings.attempts, changed)
        self.provider: str | None = None
        self.progress: tuple[str, int, int] | None = None  # job, slices done and slices in all
        self.deaths = 0  # of workers
        self._thread = threading.Thread(target=self._run, name=f"device {device_id}")

    def start(self) -> None:
        """Start the worker, and wait until the model is open.

        Raises:
            ProviderError: it does not open; the message is the worker's.
        """
        self._thread.start()
        self._tried.wait()
        if self._first_error is not None:
            self.stop(0.0)
            self.join()
            raise ProviderError(self._first_error)

    @property
    def is_ready(self) -> bool:
        """Whether the model is open in a worker that lives."""
        return self._ready.is_set()

    def wake(self) -> None:
        """Look at the queue now."""
        with self._waking:
            if not self._woken.poll():
                self._wake.send_bytes(b".")

    def cancel(self, job_id: str) -> None:
        """Stop the job, if it is the one in hand."""
        self._cancelled = job_id
        self.wake()

    def ask(self, order: orders.Infer | orders.Show) -> "Future[tuple[orders.Tensor, ...]]":
        """Have an order carried out beside the job in hand."""
        answer = self._questions.ask(order)
        self.wake()
        return answer

    def stop(self, grace_s: float) -> None:
        """Take no more jobs; hand back the one in hand, unless it ends within the time given."""
        self._stop_at = time.monotonic() + grace_s
        self._settle.is_ending = True
        self.wake()

    def join(self) -> None:
        """Wait until the worker has ended."""
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over():
            try:
                self._step()
            except sqlite3.Error as error:  # a full disk: what is not committed is done again
                logger.error("the queue cannot be written: %s", error)
                self._rest(RETRY_S)
            except Exception:
                logger.exception("device %d", self._device_id)
                self._rest(RETRY_S)
        if self._worker is not None:
            self._worker.end()
        self._questions.refuse("the server is ending")

    def _is_over(self) -> bool:
        return self._stop_at is not None and self._job is None

    def _step(self) -> None:
        if self._worker is None:
            self._start_worker()
        elif self._ready.is_set() and self._job is None and time.monotonic() >= self._not_before:
            self._begin()
        self._give_orders()
        self._receive()
        self._look_at_time()

    def _rest(self, seconds: float) -> None:
        self._not_before = time.monotonic() + seconds
        time.sleep(min(seconds, 0.5))

    def _start_worker(self) -> None:
        if time.monotonic() >= self._not_before:
            self._worker = WorkerProcess(self._settings, self._device_id)

    def _begin(self) -> None:
        job = self._store.claim()
        if job is None:
            return
        self._job = job
        try:
            self._folder.begin_attempt(job)
        except OSError as error:
            self._no_room(str(error.strerror))
            return
        self.progress = (job.id, 0, 0)
        self._deadline = time.monotonic() + self._settings.job_limit_s
        assert self._worker is not None
        files = self._folder.scan(job), self._folder.mask(job)
        self._send(orders.Segment(job.id, *files, job.options, _FORMATS if job.is_dicom else ()))

    def _give_orders(self) -> None:
        while self._ready.is_set() and (order := self._questions.next()) is not None:
            self._send(order)
        if self._cancelled is not None:
            job_id, self._cancelled = self._cancelled, None
            if self._job is not None and self._job.id == job_id:
                self._stop_job()

    def _stop_job(self) -> None:
        self._deadline = time.monotonic() + _CANCEL_S
        self._send(orders.Cancel())

    def _send(self, order: Any) -> None:
        try:
            if self._worker is not None:
                self._worker.connection.send(order)
        except OSError:
            self._died()

    def _receive(self) -> None:
        if self._worker is None:
            if self._woken.poll(min(_LOOK_S, max(0.05, self._not_before - time.monotonic()))):
                self._woken.recv_bytes()
            return
        try:
            message = self._worker.receive(_LOOK_S, self._woken)
        except (EOFError, OSError):
            self._died()
            return
        if message is None:
            if self._woken.poll():
                self._woken.recv_bytes()
            return
        self._take(message)

    def _take(self, message: Any) -> None:
        if isinstance(message, orders.Ready):
            self.provider, self._pause_s = message.provider, 0.0
            self._ready.set()
            self._tried.set()
        elif isinstance(message, orders.NotReady):
            self._not_opened(message.error)
        elif isinstance(message, orders.Answer):
            self._questions.answer(message)
        elif self._job is not None and isinstance(message, orders.Progress):
            self.progress = (self._job.id, message.done, message.of)
        elif self._job is not None:
            self._ended(self._job, message)

    def _ended(self, job: Job, message: orders.Done | orders.Failed) -> None:
        if isinstance(message, orders.Done):
            self._settle.done(job, message.report)
        elif message.no_room:
            self._no_room(message.error)
        elif message.cancelled:
            self._settle.handed_back(job)
        else:
            self._settle.failed(job, message.error)
        self._leave_job()

    def _leave_job(self) -> None:
        """The job in hand is settled."""
        self._job, self._deadline, self.progress = None, None, None

    def _no_room(self, error: str) -> None:
        """Put the job back, and wait for the disk to have room."""
        logger.error("%s: the queue waits", error)
        if self._job is not None:
            self._settle.handed_back(self._job)
        self._leave_job()
        self._rest(RETRY_S)

    def _died(self) -> None:
        assert self._worker is not None
        self._gone(f"the worker process ended ({self._worker.kill()})")

    def _gone(self, reason: str) -> None:
        """The worker is dead: settle its job, and start another."""
        self._worker = None
        self.deaths += 1
        self._questions.refuse(reason)
        if not self._ready.is_set():
            self._pause(f"{reason} before the model was open")
        self._ready.clear()
        if self._job is not None:
            self._settle.worker_died(self._job, reason)
            self._leave_job()

    def _not_opened(self, error: str) -> None:
        assert self._worker is not None
        self._worker.end()
        self._worker = None
        self._pause(error)

    def _pause(self, error: str) -> None:
        """Wait longer and longer for the model to open; at the start of the server, not at all."""
        if not self._tried.is_set():
            self._first_error = error
            self._tried.set()
        self._pause_s = min(_LONGEST_PAUSE_S, max(1.0, 2 * self._pause_s))
        self._not_before = time.monotonic() + self._pause_s
        logger.error("the model does not open, next try in %g s: %s", self._pause_s, error)

    def _look_at_time(self) -> None:
        now, job = time.monotonic(), self._job
        if job is None:
            return
        if self._deadline is not None and now > self._deadline:
            self._take_too_long(job)
        elif self._stop_at is not None and now > self._stop_at:
            self._stop_at = float("inf")
            self._stop_job()

    def _take_too_long(self, job: Job) -> None:
        """End a worker that did not end in time by itself."""
        assert self._worker is not None
        if self._stop_at == float("inf"):
            self._settle.handed_back(job)
        else:
            limit = f"{self._settings.job_limit_s:g}"
            self._settle.failed(job, f"not done after {limit} s, the limit of --job-limit")
        self._worker.kill()
        self._leave_job()
        self._gone("the worker process was ended")
