"""One job of a batch: found done, or segmented and committed."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lits_runtime.batch.job_files import JobFiles, OutputPlan
from lits_runtime.batch.jobs import Job
from lits_runtime.batch.record import Cause
from lits_runtime.errors import CancelledError, OutputBusyError, OutputError, VolumeError
from lits_runtime.files.atomic import FileFacts, atomic_path, telling_of
from lits_runtime.files.locks import locked, patience
from lits_runtime.files.output_rule import State, check_target, lock_paths, state_of
from lits_runtime.messages import printable
from lits_runtime.segment.one_scan import Task
from lits_runtime.segment.outputs import Outputs
from lits_runtime.segment.segmenter import Segmenter
from lits_runtime.volumes.scan import Scan

if TYPE_CHECKING:
    from lits_runtime.batch.local import Settings

logger = logging.getLogger(__name__)


class Work:
    """One job: found committed when made, or held to the rule for outputs, opened and read ahead.

    Another process may have the same output. It is locked while this one writes, so that the other
    waits, and then finds it committed.

    Args:
        job: what to do.
        settings: of the batch.
        segmenter: to segment with.
        plan: of the batch, which this job is part of.
    """

    def __init__(
        self, job: Job, settings: "Settings", segmenter: Segmenter, plan: OutputPlan
    ) -> None:
        self._job, self._settings, self._segmenter, self._plan = job, settings, segmenter, plan
        if job.problem is not None:
            raise VolumeError(f"{printable(str(job.scan))}: {job.problem}")
        if job in plan.refused:
            raise plan.refused[job]
        outputs = Outputs(mask=job.mask, mask_kind=settings.mask_kind, probability=job.probability)
        self._files = JobFiles.of(job, segmenter.metadata.classes)
        self._outputs = outputs
        self._cause = Cause(
            segmenter.model_sha256, settings.options, outputs, job.mask, self._files.results
        )
        self._task: Task | None = None
        self._committed = self._find_committed()
        if self._committed is not None:
            return
        self._seen: State | None = state_of(self._targets)
        try:
            self._check()
        except OutputError:  # perhaps another process is naming them now: under the lock it is told
            self._seen = None
            return
        self._task = self._open()

    def close(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.close()

    def finish(
        self,
        progress: Callable[[int, int], None] | None,
        cancel: Callable[[], bool] | None,
    ) -> tuple[str, dict[str, Any]]:
        """Status and record."""
        if self._committed is not None:
            return "skipped", self._committed
        with closing(self), self._locked(cancel):
            if state_of(self._targets) != self._seen:  # another process was here, or a person
                if (committed := self._find_committed()) is not None:
                    return "skipped", committed
                self._seen = state_of(self._targets)
                self._check()
            self._task = self._task or self._open()
            return "done", self._segment(self._task, progress, cancel)

    def _open(self) -> Task:
        settings = self._settings
        scan = Scan.open(self._job.scan, max_voxels=settings.max_voxels)
        return self._segmenter.task(scan, settings.options, self._outputs, settings.batch_size)

    def _segment(
        self,
        task: Task,
        progress: Callable[[int, int], None] | None,
        cancel: Callable[[], bool] | None,
    ) -> dict[str, Any]:
        """Write the results and commit them; the record."""
        facts: dict[Path, FileFacts] = {}

        def before_naming(written: dict[Path, FileFacts]) -> None:
            if state_of(self._targets) != self._seen:
                self._check()
            facts.update(written)
            self._cause.begin_naming(facts)

        with self._record_restored():
            report = task.run(progress, cancel, before_naming)
        return self._cause.commit(self._job.scan, report, facts, self._segmenter.metadata)

    @property
    def _targets(self) -> tuple[Path, ...]:
        return *self._files.results, self._files.record

    def _find_committed(self) -> dict[str, Any] | None:
        return None if self._settings.force else self._cause.committed(self._job.scan)

    def _check(self) -> None:
        """Hold what lies at the targets to the rule for outputs."""
        force, inputs = self._settings.force, self._plan.inputs
        for path in self._targets:
            found = "exists, and no record of ours explains it"
            if path in self._files.results and self._cause.tells_of(path):
                found = "was changed after we wrote it, and is kept"
            ours = not force and path.exists() and self._cause.ours(path)
            check_target(path, inputs, force=force, ours=ours, found=found)

    @contextmanager
    def _locked(self, cancel: Callable[[], bool] | None) -> Iterator[None]:
        """Hold the locks of the record, which stands for the mask, and of the probabilities."""
        files = (self._files.record, *self._files.probability.values())
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
        name = printable(str(self._job.mask))

        def give_up() -> None:
            raise OutputBusyError(
                f"another process is writing {name}; waited {self._settings.lock_wait_s:g} s for it"
            )

        sleep = patience(self._settings.lock_wait_s, give_up)
        told = False

        def wait() -> None:
            nonlocal told
            if cancel is not None and cancel():
                raise CancelledError(f"{name}: given up as asked, nothing written")
            if not told:
                logger.info("another process is writing %s: waiting for it", name)
            told = True
            sleep()

        with ExitStack() as locks:
            for path in lock_paths(files):
                with telling_of(self._job.mask):
                    locks.enter_context(locked(path, wait))
            yield

    @contextmanager
    def _record_restored(self) -> Iterator[None]:
        """Put the record back as it was, should none of the results take its name."""
        record, before = self._files.record, state_of(self._files.results)
        told = state_of([record])
        content = record.read_bytes() if record.exists() else None
        try:
            yield
        except BaseException:
            if state_of(self._files.results) == before and state_of([record]) != told:
                _restore(record, content)
            raise


def _restore(path: Path, content: bytes | None) -> None:
    try:
        if content is None:
            path.unlink(missing_ok=True)
        else:
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)
    except OSError as error:  # a full or read-only disk: the first error is the one to report
        logger.debug("%s: %s", path, error)
