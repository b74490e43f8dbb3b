"""Many scans with one model: each on its own, none lost, none done twice."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lits_runtime.arguments import described
from lits_runtime.batch.job_files import OutputPlan
from lits_runtime.batch.jobs import Job
from lits_runtime.errors import ArgumentError, CancelledError
from lits_runtime.files.atomic import remove_abandoned
from lits_runtime.files.output_rule import Inputs
from lits_runtime.messages import printable
from lits_runtime.segment.options import MAX_VOXELS, Options
from lits_runtime.segment.segmenter import Segmenter
from lits_runtime.system.versions import versions

if TYPE_CHECKING:
    from lits_runtime.batch.one_job import Work
    from lits_runtime.batch.results_file import ReportFile

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """All that is the same for every scan of a batch; plain values that any engine can ship."""

    model: Path | None = None
    """None: the bundled model."""
    model_sha256: str | None = None
    """Of the only content of it to accept."""
    provider: str = "auto"
    device_id: int = 0
    threads: int | None = None
    batch_size: int | None = None
    options: Options = field(default_factory=Options)
    mask_kind: str = "labels"
    max_voxels: int = MAX_VOXELS
    force: bool = False
    """Make again what is committed, and overwrite files that no record explains; never a scan."""
    lock_wait_s: float = 600.0
    """How long to wait for another process that writes the same output."""


@dataclass(frozen=True)
class Outcome:
    """What became of one scan."""

    job: Job
    status: str
    """"done", "skipped" (committed by an earlier run), "failed" or "cancelled"."""
    record: dict[str, Any] | None = None
    error: Exception | None = None
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """One JSON object: paths, status, and the record or the error."""
        return {
            "scan": str(self.job.scan),
            "mask": str(self.job.mask),
            "status": self.status,
            "error": None if self.error is None else printable(str(self.error)),
            "record": self.record,
        }


def segment_scan(job: Job, settings: Settings) -> dict[str, Any]:
    """Segment one scan, commit it and give its record; the unit of work for any engine.

    The model is kept open for the next call with the same settings.

    Raises:
        OutputError: a file would be overwritten that is not ours; see `output_plan`.
        LitsError: the scan, the model or the provider is at fault.
        OSError: a file cannot be read or written.
    """
    segmenter = _opened(settings, [job])
    from lits_runtime.batch.one_job import Work

    return Work(job, settings, segmenter, _plan([job], segmenter)).finish(None, None)[1]


def run_batch(
    jobs: Sequence[Job],
    settings: Settings,
    *,
    progress: Callable[[Job, int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    report: "ReportFile | None" = None,
    also_read: Sequence[Path] = (),
) -> Iterator[Outcome]:
    """Segment scans one after the other, reading ahead into the next.

    Leaving the loop early stops all that was begun.

    Args:
        jobs: what to do; see `jobs.plan`.
        settings: for all of them.
        progress: called with the job, slices done and slices in all.
        cancel: asked after each slab whether to stop; the scan in hand is then discarded.
        report: that the caller will write, held to the rule for outputs before the first scan.
        also_read: what the caller reads beside scans and model, never to be overwritten.

    Yields:
        One outcome for each job, in order, until the end or the cancellation. A failed scan stops
        nothing.

    Raises:
        LitsError: the model or the provider does not load.
        OutputError: the report would overwrite what is not ours.
        ValueError: the options do not fit the model.
    """
    segmenter = _opened(settings, jobs)  # imports, in the meantime, most of what comes next
    from lits_runtime.batch.one_job import Work

    settings.options.check(segmenter.metadata)
    sound = [job for job in jobs if job.problem is None]
    outputs = _plan(sound, segmenter, also_read)
    if report is not None:
        report.check(outputs)
    for folder in {file.parent for job in sound for file in (job.mask, job.probability) if file}:
        remove_abandoned(folder)
    with _Preparer(lambda job: Work(job, settings, segmenter, outputs)) as preparer:
        upcoming = preparer.begin(jobs, 0)
        preparer.submit(versions)  # for the records: later, nothing would run beside it
        for index, job in enumerate(jobs):
            current, upcoming = upcoming, preparer.begin(jobs, index + 1)
            assert current is not None
            outcome = _outcome(job, current, progress, cancel)
            preparer.done(current)
            yield outcome
            if outcome.status == "cancelled" or (cancel is not None and cancel()):
                break


class _Preparer:
    """Opens scans in a thread of its own; when left, stops reading all that is not done."""

    def __init__(self, prepare: "Callable[[Job], Work]") -> None:
        self._prepare = prepare
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="next scan")
        self._open: list[Future[Work]] = []

    def __enter__(self) -> "_Preparer":
        return self

    def __exit__(self, *exception: object) -> None:
        for work in self._open:
            work.cancel()
        self._thread.shutdown()
        for work in self._open:
            if not work.cancelled() and work.exception() is None:
                work.result().close()

    def begin(self, jobs: Sequence[Job], index: int) -> "Future[Work] | None":
        """Begin with a job, if there are so many."""
        if index >= len(jobs):
            return None
        self._open.append(self._thread.submit(self._prepare, jobs[index]))
        return self._open[-1]

    def done(self, work: "Future[Work]") -> None:
        """Forget a job that is done."""
        self._open.remove(work)

    def submit(self, function: Callable[[], object]) -> None:
        """Run something else in between."""
        self._thread.submit(function)


def _plan(jobs: Sequence[Job], segmenter: Segmenter, also_read: Sequence[Path] = ()) -> OutputPlan:
    inputs = Inputs("the model", [segmenter.model_file] if segmenter.model_file else [])
    inputs.add("a file that this run reads", also_read)
    return OutputPlan(jobs, segmenter.metadata.classes, inputs)


@lru_cache(1)
def _model(
    model: Path | None, sha256: str | None, provider: str, threads: int | None, device_id: int
) -> Segmenter:
    return Segmenter.open(
        model, provider=provider, threads=threads, device_id=device_id, sha256=sha256
    )


def _opened(settings: Settings, jobs: Sequence[Job]) -> Segmenter:
    if not isinstance(settings, Settings):
        raise ArgumentError(f"settings: {described(settings)}, expected batch.Settings")
    if not isinstance(jobs, Sequence) or not all(isinstance(job, Job) for job in jobs):
        raise ArgumentError("jobs: expected those of lits_runtime.batch.jobs, as plan gives them")
    return _model(
        settings.model,
        settings.model_sha256,
        settings.provider,
        settings.threads,
        settings.device_id,
    )


def _outcome(
    job: Job,
    work: "Future[Work]",
    progress: Callable[[Job, int, int], None] | None,
    cancel: Callable[[], bool] | None,
) -> Outcome:
    began = time.perf_counter()
    told = None if progress is None else lambda done, of: progress(job, done, of)
    try:
        status, record = work.result().finish(told, cancel)
    except CancelledError as error:
        return Outcome(job, "cancelled", error=error, seconds=time.perf_counter() - began)
    except Exception as error:  # whatever it is, the other scans go on
        logger.log(1, "%s", printable(str(job.scan)), exc_info=True)  # lits-infer -vv
        return Outcome(job, "failed", error=error, seconds=time.perf_counter() - began)
    return Outcome(job, status, record, seconds=time.perf_counter() - began)
