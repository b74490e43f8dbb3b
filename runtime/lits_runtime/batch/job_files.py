"""All files that the jobs of a batch write, checked before the first scan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lits_runtime.batch.job import Job
from lits_runtime.errors import OutputError
from lits_runtime.files.output_rule import Inputs, check_targets, file_key
from lits_runtime.messages import printable
from lits_runtime.records.record_file import record_path
from lits_runtime.records.result_files import (
    FOLDER_RECORD,
    check_endings,
    format_of,
    pictures,
    probability_path,
    series_files,
)
from lits_runtime.volumes.names import pair_paths


@dataclass(frozen=True)
class JobFiles:
    """All files that a job writes."""

    record: Path
    mask: Path | None
    probability: Mapping[str, Path] = field(default_factory=dict)
    """By class."""
    objects: Mapping[str, Path] = field(default_factory=dict)
    """DICOM objects of a series by format; of "sc" the folder."""

    @classmethod
    def of(cls, job: Job, classes: Sequence[str]) -> "JobFiles":
        """For a job, with a model of these classes."""
        paths = {}
        if job.probability is not None:
            paths = {name: probability_path(job.probability, name) for name in classes}
        if not job.of_series:
            return cls(record_path(job.mask), job.mask, paths)
        objects = series_files(job.mask, job.formats)
        in_folder = format_of(job.mask) is None
        record = job.mask / FOLDER_RECORD if in_folder else record_path(job.mask)
        return cls(record, objects.pop("nifti", None), paths, objects)

    @property
    def results(self) -> tuple[Path, ...]:
        """Mask, probabilities and DICOM objects; of secondary captures those that are there."""
        masks = () if self.mask is None else (self.mask,)
        objects = [path for name, path in self.objects.items() if name != "sc"]
        captures = pictures(self.objects["sc"]) if "sc" in self.objects else []
        return *masks, *self.probability.values(), *objects, *captures

    @property
    def folders(self) -> set[Path]:
        """Where the files lie."""
        captures = {self.objects["sc"]} if "sc" in self.objects else set()
        return {self.record.parent, *(path.parent for path in self.results), *captures}

    def check(self, inputs: Inputs) -> None:
        """Check names, and that no input and no other result is overwritten.

        Raises:
            OutputError: a name of another format, an input as a target, two results in one file.
        """
        masks = [] if self.mask is None else [self.mask]
        check_endings([*masks, *self.probability.values()])
        check_targets((*self.results, self.record), inputs, force=True)


def _files_of_scan(job: Job) -> Sequence[Path]:
    """Files on this machine that hold a job's scan."""
    if job.remote is not None and job.remote.source is not None:
        return ()
    return pair_paths(job.scan) if job.series is None else job.series.files


class OutputPlan:
    """All files that the jobs of a batch will write, checked together before the first scan.

    Args:
        jobs: of the batch.
        classes: of the model, which complete the names of probability files.
        inputs: what else the batch reads: the model, a list of scans.
    """

    def __init__(self, jobs: Sequence[Job], classes: Sequence[str], inputs: Inputs) -> None:
        self.jobs = tuple(jobs)
        self.inputs, inputs.folders = inputs, {}
        for job in jobs:
            inputs.add("the scan", _files_of_scan(job))
        self._owners: dict[str, set[Job]] = {}
        self.refused: dict[Job, OutputError] = {}
        """Jobs that must not run, and why; the others may."""
        self.folders: set[Path] = set()
        """Where files will be written."""
        for job in jobs:
            files = JobFiles.of(job, classes)
            if job.remote is not None and job.remote.destination is not None:
                self._owners.setdefault(job.target, set()).add(job)
                continue
            try:
                files.check(inputs)
            except OutputError as error:
                self.refused[job] = error
            self.folders |= files.folders
            for path in (*files.results, files.record):
                self._owners.setdefault(file_key(path, inputs.folders), set()).add(job)
        inputs.folders = None
        for owners in self._owners.values():
            if len(owners) > 1:
                self._refuse(owners)

    def _refuse(self, owners: set[Job]) -> None:
        first, second, *_ = sorted(job.name for job in owners)
        for job in owners:
            self.refused.setdefault(
                job,
                OutputError(
                    f"{printable(job.target)} would come from both {first} and {second}; "
                    "rename one, or give separate outputs"
                ),
            )

    def check_own_name(self, path: Path) -> None:
        """Make sure that no job writes a file of the batch itself, such as the report of all jobs.

        Raises:
            OutputError: one does.
        """
        if file_key(path) in self._owners:
            raise OutputError(
                f"{printable(str(path))}: a scan's mask, record or probability has this name; "
                "choose another"
            )
