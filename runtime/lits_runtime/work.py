"""One job of a batch: found done, or segmented and committed."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lits_runtime.errors import VolumeError
from lits_runtime.jobs import Job
from lits_runtime.names import printable
from lits_runtime.outputs import Outputs
from lits_runtime.record import Cause, record_path, unexplained
from lits_runtime.segmenter import Segmenter
from lits_runtime.task import Task
from lits_runtime.volume import Scan

if TYPE_CHECKING:
    from lits_runtime.batch import Settings

logger = logging.getLogger(__name__)


class Work:
    """One job: found committed when made, or opened and read ahead."""

    def __init__(self, job: Job, settings: "Settings", segmenter: Segmenter) -> None:
        if job.problem is not None:
            raise VolumeError(f"{printable(str(job.scan))}: {job.problem}")
        self._job, self._segmenter = job, segmenter
        outputs = Outputs(mask=job.mask, mask_kind=settings.mask_kind, probability=job.probability)
        self._cause = Cause(segmenter.model_sha256, settings.options, outputs)
        self._task: Task | None = None
        self._committed = None if settings.force else self._cause.committed(job.scan)
        if self._committed is not None:
            return
        if not settings.force and unexplained([job.mask]):
            raise FileExistsError(
                f"{printable(str(job.mask))} exists and has no record of ours; overwrite it with "
                "--force"
            )
        scan = Scan.open(job.scan, max_voxels=settings.max_voxels)
        self._task = segmenter.task(scan, settings.options, outputs, settings.batch_size)

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
        if self._task is None:
            assert self._committed is not None
            return "skipped", self._committed
        path = record_path(self._job.mask)
        before = path.read_bytes() if path.exists() else None
        with self._task:
            try:
                self._cause.begin()
                report = self._task.run(progress, cancel)
            except BaseException:
                _restore(path, before)
                raise
            return "done", self._cause.commit(self._job.scan, report, self._segmenter.metadata)


def _restore(path: Path, before: bytes | None) -> None:
    try:
        if before is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(before)
    except OSError as error:  # a full or read-only disk: the first error is the one to report
        logger.debug("%s: %s", path, error)
