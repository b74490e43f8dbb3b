"""The engine that runs jobs in this process, one after the other, reading ahead into the next."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias

from lits_runtime.batch.failures import forget_failure, record_failure
from lits_runtime.batch.job import Job
from lits_runtime.batch.job_files import OutputPlan
from lits_runtime.batch.settings import Outcome, Settings
from lits_runtime.errors import CancelledError, LitsError, VolumeError
from lits_runtime.files.output_rule import Inputs
from lits_runtime.messages import without_uids
from lits_runtime.model.metadata import ModelMetadata
from lits_runtime.session.engine import Engine
from lits_runtime.session.opening import checked_opening
from lits_runtime.system.versions import versions

if TYPE_CHECKING:  # imported while the model is opened
    from lits_runtime.batch.one_job import OneJob
    from lits_runtime.batch.remote.staged_job import StagedJob

    OpenedJob: TypeAlias = OneJob | StagedJob

logger = logging.getLogger(__name__)

_MEANWHILE = ("lits_runtime.batch.one_job",)
"""What the first job needs, imported while ONNX Runtime prepares the session."""


class LocalEngine:
    """Runs jobs with an opened model.

    Args:
        settings: of all jobs.
        engine: runs the model.
    """

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings, self._engine = settings, engine

    @classmethod
    def open(cls, settings: Settings) -> "LocalEngine":
        """Open the model, or take the one opened last if the settings name the same."""
        engine = _opened(
            settings.model,
            settings.model_sha256,
            settings.provider,
            settings.threads,
            settings.device_id,
        )
        return cls(settings, engine)

    @property
    def metadata(self) -> ModelMetadata:
        """Of the model."""
        return self._engine.metadata

    @property
    def origins(self) -> tuple[Path, ...]:
        """The file that the model was read from, if any."""
        return self._engine.origins

    def segment(self, job: Job) -> dict[str, Any]:
        """Run one job that belongs to no batch; its record."""
        inputs = Inputs("the model", self.origins)
        return self._open(job, OutputPlan([job], self.metadata.classes, inputs)).finish()[1]

    def outcome(self, job: Job, turn: Lock, cancel: Callable[[], bool] | None = None) -> Outcome:
        """Run one job that another process sent, opening its scan before it is its turn."""
        opened: Future[OpenedJob] = Future()
        try:
            inputs = Inputs("the model", self.origins)
            opened.set_result(self._open(job, OutputPlan([job], self.metadata.classes, inputs)))
        except Exception as error:
            opened.set_exception(error)
        with turn:
            return _outcome(job, opened, None, cancel)

    def run(
        self,
        jobs: Sequence[Job],
        plan: OutputPlan,
        progress: Callable[[Job, int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Iterator[Outcome]:
        """One outcome for each job, in order, until the end or the cancellation."""
        with _OpenedAhead(jobs, lambda job: self._open(job, plan)) as ahead:
            for job, opened in ahead:
                outcome = _outcome(job, opened, progress, cancel)
                yield outcome
                if outcome.status == "cancelled" or (cancel is not None and cancel()):
                    break

    def _open(self, job: Job, plan: OutputPlan) -> "OpenedJob":
        from lits_runtime.batch.one_job import OneJob

        if job.remote is None:
            return OneJob.open(job, self._settings, self._engine, plan)
        from lits_runtime.batch.remote.staged_job import StagedJob

        return StagedJob.open(job, self._settings, self._engine, plan)


class _OpenedAhead:
    """Iterates over jobs while the next one is opened in a thread; when left, all are closed."""

    def __init__(self, jobs: Sequence[Job], open_job: "Callable[[Job], OpenedJob]") -> None:
        self._jobs, self._open_job = iter(jobs), open_job
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="next scan")
        self._opened: deque[tuple[Job, Future[OpenedJob]]] = deque()

    def __enter__(self) -> "_OpenedAhead":
        self._begin_next()
        self._thread.submit(versions)  # for the records: later, nothing would run beside it
        return self

    def __exit__(self, *exception: object) -> None:
        for _, opened in self._opened:
            opened.cancel()
        self._thread.shutdown()
        for _, opened in self._opened:
            if not opened.cancelled() and opened.exception() is None:
                opened.result().close()

    def __iter__(self) -> "Iterator[tuple[Job, Future[OpenedJob]]]":
        while self._opened:
            self._begin_next()
            yield self._opened[0]
            self._opened.popleft()

    def _begin_next(self) -> None:
        for job in islice(self._jobs, 1):
            self._opened.append((job, self._thread.submit(self._open_job, job)))


@lru_cache(1)
def _opened(
    model: Path | None, sha256: str | None, provider: str, threads: int | None, device_id: int
) -> Engine:
    opening = checked_opening(model, provider, threads, device_id, sha256)
    engine = Engine.open(opening, _MEANWHILE)
    if engine.advice:
        logger.warning("%s", engine.advice)
    return engine


def _outcome(
    job: Job,
    opened: "Future[OpenedJob]",
    progress: Callable[[Job, int, int], None] | None,
    cancel: Callable[[], bool] | None,
) -> Outcome:
    began = time.perf_counter()
    of_job = None if progress is None else partial(progress, job)
    try:
        status, record = opened.result().finish(of_job, cancel)
    except CancelledError as error:
        return Outcome(job, "cancelled", error=error, seconds=time.perf_counter() - began)
    except Exception as error:  # whatever it is, the other jobs go on
        error = _without_paths(error, job)
        logger.log(1, "%s", job.name, exc_info=error)  # lits-infer -vv
        record_failure(job, error)
        return Outcome(job, "failed", error=error, seconds=time.perf_counter() - began)
    if job.failure is not None:
        forget_failure(job)
    return Outcome(job, status, record, seconds=time.perf_counter() - began)


def _without_paths(error: Exception, job: Job) -> Exception:
    """An error to show: the path of a file of a DICOM series may name the patient."""
    if job.series is None or isinstance(error, LitsError) or not isinstance(error, OSError):
        return error
    name = str(error.filename or "")
    if name not in map(str, job.series.files):
        return error
    shown = without_uids(Path(name).name)
    return VolumeError(f"{job.name}: {shown} cannot be read: {error.strerror}")
