"""One job with files in a store: what is done before is known without fetching the scan."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lits_runtime.batch.failures import check_quarantine
from lits_runtime.batch.job import Job
from lits_runtime.batch.job_files import JobFiles, OutputPlan
from lits_runtime.batch.one_job import OneJob
from lits_runtime.batch.remote.source import Source
from lits_runtime.batch.remote.target import Target
from lits_runtime.batch.settings import Settings
from lits_runtime.errors import LitsError, VolumeError
from lits_runtime.files.output_rule import Inputs
from lits_runtime.records.record_file import write_record
from lits_runtime.session.engine import Engine
from lits_runtime.stores.scratch import ScratchFolder, scratch_within


class StagedJob:
    """A job that is done in scratch folders, by the rules for local files.

    The record of the job is fetched, then, unless it commits the very objects that are there, the
    scan and earlier results. So a foreign mask is kept, as on a disk. Results are put before the
    record; the record is put twice, first with the names of the files to come, each time only if
    nobody else has written it in the meantime.

    Args:
        job: with a `Remote`.
        settings: of the batch.
        engine: to segment with.
    """

    def __init__(self, job: Job, settings: Settings, engine: Engine) -> None:
        self._job, self._settings, self._engine = job, settings, engine
        self._scratch = scratch_within(settings.scratch_bytes)
        self._folders: list[ScratchFolder] = []
        self._source: Source | None = None
        self._target: Target | None = None
        self._committed: dict[str, Any] | None = None
        self._inner: OneJob | None = None
        self._local = job

    @classmethod
    def open(cls, job: Job, settings: Settings, engine: Engine, plan: OutputPlan) -> "StagedJob":
        """Look for committed results; if there are none, fetch the scan and open it.

        Raises:
            VolumeError: the job has no scan, or one that cannot be read.
            OutputError: the job's outputs are those of another one.
            StoreError: a store does not answer, or refuses.
        """
        if job.problem is not None:
            raise VolumeError(f"{job.name}: {job.problem}")
        if job in plan.refused:
            raise plan.refused[job]
        staged = cls(job, settings, engine)
        try:
            with staged._errors_named():
                staged._look()
        except BaseException:
            staged.close()
            raise
        return staged

    def close(self) -> None:
        """Stop reading, and remove what was fetched."""
        if self._inner is not None:
            self._inner.close()
        for folder in self._folders:
            folder.close()

    def finish(
        self,
        progress: Callable[[int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> tuple[str, dict[str, Any]]:
        """Do what is left to do: "done" or "skipped", and the record."""
        try:
            inner = self._inner
            if inner is None:
                return "skipped", self._committed or {}
            with self._errors_named():
                status, record = inner.finish(progress, cancel)
                return status, self._publish(status, record)
        finally:
            self.close()

    def _look(self) -> None:
        remote = self._job.remote
        if remote is None:
            raise VolumeError(f"{self._job.name}: a job without files in a store")
        if remote.source is not None:
            self._source = Source.look(remote.source, is_series=remote.is_series)
        if remote.destination is not None:
            folder = self._folder(0)
            self._local = replace(self._local, mask=folder / self._job.mask)
            if self._job.probability is not None:
                self._local = replace(self._local, probability=folder / self._job.probability)
            self._target = Target(remote.destination, folder)
        files = JobFiles.of(self._local, self._engine.metadata.classes)
        if self._target is not None:
            self._target.fetch_record(files.record)
        if not self._settings.force:
            self._committed = self._find_committed()
        if self._committed is None:
            if not self._settings.force:
                check_quarantine(self._job)
            self._fetch()

    def _find_committed(self) -> dict[str, Any] | None:
        """The record, if it commits the objects that are there."""
        one = OneJob(self._local, self._settings, self._engine, self._plan())
        source, target = self._source, self._target
        return one.record.committed(
            None if source is None else source.is_of,
            None if target is None else target.holds,
        )

    def _fetch(self) -> None:
        source, remote = self._source, self._job.remote
        if source is not None and remote is not None:
            folder = self._folder(source.stored.bytes or 0)
            scan = source.fetch(folder)
            self._local = replace(self._local, scan=scan, remote=None)
            if remote.is_series:
                from lits_runtime.volumes.open import choose_dicom

                series = choose_dicom(
                    [scan], remote.wanted, fill_missing=remote.fill_missing, name=self._job.name
                )
                self._local = replace(self._local, series=series)
        self._local = replace(self._local, remote=None, failure=None)
        if self._target is not None:
            self._target.fetch_results(JobFiles.of(self._local, self._engine.metadata.classes))
        self._inner = OneJob.open(self._local, self._settings, self._engine, self._plan())

    def _publish(self, status: str, record: dict[str, Any]) -> dict[str, Any]:
        """Put the results where they belong; the record as it is there."""
        stored = None if self._source is None else self._source.stored.to_json()
        files = JobFiles.of(self._local, self._engine.metadata.classes)
        if self._target is not None:
            return self._target.put(record, files.record, stored, new=status == "done")
        return write_record(files.record, record | {"store": {"scan": stored}})

    def _plan(self) -> OutputPlan:
        inputs = Inputs("the model", self._engine.origins)
        return OutputPlan([self._local], self._engine.metadata.classes, inputs)

    def _folder(self, size: int) -> Path:
        self._folders.append(self._scratch.folder(size, self._job.name))
        return self._folders[-1].path

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        """Make errors name what the caller knows, not the files in scratch."""
        try:
            yield
        except LitsError as error:
            text = str(error)
            if self._source is not None and self._local.scan != self._job.scan:
                text = text.replace(str(self._local.scan), self._job.name)
            if self._target is not None:
                text = self._target.named(text)
            if text == str(error):
                raise
            raise type(error)(text) from error
