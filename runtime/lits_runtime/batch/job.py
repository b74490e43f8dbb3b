"""One job of a batch: a scan, where it is, and where its results go."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lits_runtime.messages import hashed_uid, printable
from lits_runtime.stores.uri import joined, shown

if TYPE_CHECKING:
    from lits_runtime.volumes.dicom.series import Series

FAILED = ".failed.json"
"""Ending of the record of a failure."""


@dataclass(frozen=True)
class Remote:
    """Where the files of a job are, if not on this machine's disks."""

    source: str | None = None
    """URI that the scan is fetched from: an object, or the prefix of a DICOM series."""
    destination: str | None = None
    """URI that the results go below; the job's own paths are then relative to it."""
    is_series: bool = False
    """Whether a DICOM series is fetched."""
    wanted: str | None = None
    """UID or number of the series to take of several."""
    fill_missing: bool = False
    """Interpolate single missing slices of a series."""


@dataclass(frozen=True)
class Job:
    """One scan and the files to make of it."""

    scan: Path
    """A file, or the folder or archive that a DICOM series lies in."""
    mask: Path
    """Of a DICOM series also a folder for all its results, or the file of a SEG."""
    probability: Path | None = None
    problem: str | None = None
    """Why there is nothing to segment under this name; this job then fails, and no other."""
    series: "Series | None" = field(default=None, compare=False, repr=False)
    """The DICOM series to segment; its results are told apart by their names."""
    formats: tuple[str, ...] = ()
    """Of the results of a series; see `records.result_files.series_files`."""
    failure: Path | None = None
    """Where a failure is recorded; None: nowhere, as for a scan that is named alone."""
    remote: Remote | None = None

    @property
    def name(self) -> str:
        """For messages; of a DICOM series no path, which may name the patient."""
        return printable(self.shown)

    @property
    def shown(self) -> str:
        """The scan in lists of results."""
        if self.remote is not None and self.remote.source is not None:
            return shown(self.remote.source)
        return str(self.scan) if self.series is None else self.series.name

    @property
    def target(self) -> str:
        """The mask, or the folder of all results, in messages and lists."""
        if self.remote is not None and self.remote.destination is not None:
            return joined(self.remote.destination, self.mask)
        return str(self.mask)

    @property
    def of_series(self) -> bool:
        """Whether the scan is a DICOM series."""
        return self.series is not None or (self.remote is not None and self.remote.is_series)


def failure_path(job: Path) -> Path:
    """Where the failure of a job is recorded: hidden, beside its mask or its folder of results.

    >>> failure_path(Path("out/a"))
    PosixPath('out/.a.failed.json')
    """
    return job.with_name(f".{job.name}{FAILED}")


def series_name(place: str) -> str:
    """What a series is called before it is read, by a place that may name a patient.

    >>> series_name("s3://bucket/study/series/")
    'series-343f817d'
    """
    return f"series-{hashed_uid(place.rstrip('/'))}"
