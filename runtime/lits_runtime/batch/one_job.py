"""One job of a batch: found committed, or segmented and committed."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from lits_runtime.batch.failures import check_quarantine
from lits_runtime.batch.job import Job
from lits_runtime.batch.job_files import JobFiles, OutputPlan
from lits_runtime.batch.record import JobRecord
from lits_runtime.batch.settings import Settings
from lits_runtime.errors import CancelledError, OutputBusyError, OutputError, VolumeError
from lits_runtime.files.atomic import FileFacts, atomic_path, errors_name
from lits_runtime.files.locks import locked, patience
from lits_runtime.files.output_rule import State, check_target, lock_paths, state_of
from lits_runtime.messages import printable
from lits_runtime.segment.callbacks import Cancel, Progress, is_cancelled
from lits_runtime.segment.one_scan import OneScan
from lits_runtime.segment.outputs import ToFiles
from lits_runtime.session.engine import Engine
from lits_runtime.volumes.scan import MAX_VOXELS, Scan

logger = logging.getLogger(__name__)


class OneJob:
    """A job whose results are looked at, and whose scan is read ahead unless they are committed.

    Another process may have the same output. It is locked while this one writes, so that the other
    waits, and then finds it committed.

    Args:
        job: what to do.
        settings: of the batch.
        engine: to segment with.
        plan: of the batch, which this job is part of.
    """

    def __init__(self, job: Job, settings: Settings, engine: Engine, plan: OutputPlan) -> None:
        self._job, self._settings, self._engine, self._plan = job, settings, engine, plan
        self._files = JobFiles.of(job, engine.metadata.classes)
        self._output = ToFiles(
            *(self._files.mask, settings.mask_kind, job.probability),
            *(self._files.objects, settings.objects),
        )
        with_probability = job.probability is not None
        self._applied = settings.options.applied(engine.metadata, with_probability)
        self.record = JobRecord(engine.model_sha256, self._applied, self._output, self._files, job)
        self._committed: dict[str, Any] | None = None
        self._seen: State | None = None
        self._scan: OneScan | None = None

    @classmethod
    def open(cls, job: Job, settings: Settings, engine: Engine, plan: OutputPlan) -> "OneJob":
        """Look for committed results; if there are none, check the outputs and open the scan.

        Raises:
            VolumeError: the job has no scan, or one that cannot be read.
            OutputError: the job's outputs are those of another one, or inputs of the batch.
        """
        if job.problem is not None:
            raise VolumeError(f"{job.name}: {job.problem}")
        if job in plan.refused:
            raise plan.refused[job]
        one_job = cls(job, settings, engine, plan)
        one_job._look()
        return one_job

    def close(self) -> None:
        """Stop reading."""
        if self._scan is not None:
            self._scan.close()

    def finish(
        self, progress: Progress | None = None, cancel: Cancel | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Do what is left to do: "done" or "skipped", and the record."""
        if self._committed is not None:
            return "skipped", self._committed
        with closing(self), self._locked(cancel):
            if state_of(self._targets) != self._seen:  # another process was here, or a person
                if (committed := self._find_committed()) is not None:
                    return "skipped", committed
                self._seen = state_of(self._targets)
                self._check()
            self._scan = self._scan or self._open_scan()
            return "done", self._segment(self._scan, progress, cancel)

    def _look(self) -> None:
        self._committed = self._find_committed()
        if self._committed is not None:
            return
        if not self._settings.force:
            check_quarantine(self._job)
        self._seen = state_of(self._targets)
        try:
            self._check()
        except OutputError:  # another process may be naming them now: checked again under the lock
            self._seen = None
            return
        self._scan = self._open_scan()

    def _open_scan(self) -> OneScan:
        settings = self._settings
        source = self._job.series or self._job.scan
        scan = Scan.open(source, max_voxels=settings.max_voxels or MAX_VOXELS)
        return OneScan.open(self._engine, scan, self._applied, settings.batch_size)

    def _segment(
        self, scan: OneScan, progress: Progress | None, cancel: Cancel | None
    ) -> dict[str, Any]:
        """Write the results and commit them; the record."""
        facts: dict[Path, FileFacts] = {}
        older: list[Path] = []

        def before_naming(written: dict[Path, FileFacts]) -> None:
            if state_of(self._targets) != self._seen:
                self._check()
            facts.update(written)
            older.extend(self.record.begin_naming(facts))

        with self._record_restored():
            report = scan.to_files(self._output, progress, cancel, before_naming)
        for path in older:
            path.unlink(missing_ok=True)
        return self.record.commit(report, facts, self._engine.metadata)

    @property
    def _targets(self) -> tuple[Path, ...]:
        return *self._files.results, self._files.record

    def _find_committed(self) -> dict[str, Any] | None:
        return None if self._settings.force else self.record.committed()

    def _check(self) -> None:
        """Check the files at the targets by the rule for outputs."""
        force, inputs = self._settings.force, self._plan.inputs
        for path in self._targets:
            found = "exists, and no record of ours explains it"
            if path in self._files.results and self.record.names(path):
                found = "was changed after we wrote it, and is kept"
            ours = not force and path.exists() and self.record.ours(path)
            check_target(path, inputs, force=force, ours=ours, found=found)

    @contextmanager
    def _locked(self, cancel: Cancel | None) -> Iterator[None]:
        """Hold the locks of the record, which stands for the mask, and of the probabilities."""
        files = (self._files.record, *self._files.probability.values())
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
        wait = self._waiting(cancel)
        with ExitStack() as locks:
            for path in lock_paths(files):
                with errors_name(self._job.mask):
                    locks.enter_context(locked(path, wait))
            yield

    def _waiting(self, cancel: Cancel | None) -> Callable[[], None]:
        """What waits for another process, a little longer at each call."""
        name, longest_s = printable(str(self._job.mask)), self._settings.lock_wait_s

        def give_up() -> None:
            raise OutputBusyError(
                f"another process is writing {name}; waited {longest_s:g} s for it"
            )

        sleep = patience(longest_s, give_up)
        has_logged = False

        def wait() -> None:
            nonlocal has_logged
            if is_cancelled(cancel):
                raise CancelledError(f"{name}: cancelled, nothing written")
            if not has_logged:
                logger.info("another process is writing %s: waiting for it", name)
            has_logged = True
            sleep()

        return wait

    @contextmanager
    def _record_restored(self) -> Iterator[None]:
        """Put the record back as it was, if an error leaves all results as they were."""
        record, before = self._files.record, state_of(self._files.results)
        record_before = state_of([record])
        content = record.read_bytes() if record.exists() else None
        try:
            yield
        except BaseException:
            unchanged = state_of(self._files.results) == before
            if unchanged and state_of([record]) != record_before:
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
