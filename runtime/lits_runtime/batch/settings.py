"""What is the same for every job of a batch, and what becomes of each."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lits_runtime.batch.job import Job
from lits_runtime.messages import printable
from lits_runtime.segment.options import Options
from lits_runtime.volumes.dicom_objects.facts import ObjectOptions


@dataclass(frozen=True)
class Settings:
    """Settings of every job of a batch; plain values that any engine can send elsewhere."""

    model: Path | None = None
    """None: the bundled model."""
    model_sha256: str | None = None
    """Of its only content to accept."""
    provider: str = "auto"
    device_id: int = 0
    threads: int | None = None
    batch_size: int | None = None
    options: Options = field(default_factory=Options)
    mask_kind: str = "labels"
    objects: ObjectOptions = field(default_factory=ObjectOptions)
    """How DICOM objects are written."""
    max_voxels: int | None = None
    """Of the largest scan to accept; None: `volumes.scan.MAX_VOXELS`."""
    force: bool = False
    """Redo what is committed, and overwrite files of others; never a scan or the model."""
    scratch_bytes: int | None = None
    """Of fetched scans that lie on this machine at once; None: `stores.scratch.DEFAULT_BYTES`."""
    lock_wait_s: float = 600.0
    """How long to wait for another process that writes the same output."""


@dataclass(frozen=True)
class Outcome:
    """What became of one job."""

    job: Job
    status: str
    """"done", "skipped" (committed by an earlier run), "failed" or "cancelled"."""
    record: dict[str, Any] | None = None
    error: Exception | None = None
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """One JSON object: paths, status, and the record or the error."""
        return {
            "scan": self.job.shown,
            "mask": self.job.target,
            "status": self.status,
            "error": None if self.error is None else printable(str(self.error)),
            "record": self.record,
        }
