"""The record of a job: what decides its mask, and the commit of its results."""

import datetime
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lits_runtime.batch.job import Job
from lits_runtime.batch.job_files import JobFiles
from lits_runtime.errors import LitsError
from lits_runtime.files.atomic import FileFacts
from lits_runtime.measure.report import Report
from lits_runtime.model.metadata import ModelMetadata
from lits_runtime.records.record_file import (
    RECORD_VERSION,
    explains,
    facts_now,
    facts_of,
    matches,
    name_in_record,
    read_record,
    write_record,
)
from lits_runtime.records.record_shape import is_complete
from lits_runtime.records.result_files import FOLDER_RECORD, FORMATS, pictures
from lits_runtime.segment.options import Applied
from lits_runtime.segment.outputs import ToFiles
from lits_runtime.system.versions import versions
from lits_runtime.volumes.digest import file_sha256

_ALL_SLICES = {"search_mm": 0.0, "interpolation_mm": 0.0}
"""What records of early versions mean, which lack these settings."""


@dataclass(frozen=True)
class JobRecord:
    """The record of a job, and what it must say for the results not to be made again."""

    model_sha256: str
    applied: Applied
    output: ToFiles
    files: JobFiles
    job: Job

    @property
    def path(self) -> Path:
        """Of the record; files are named relative to its folder."""
        return self.files.record

    def settings(self) -> dict[str, Any]:
        """The settings that decide the mask, as they stand in the record."""
        return self.applied.to_json() | {
            "mask_kind": self.output.mask_kind,
            "probability": self.output.probability is not None,
            **self._of_series(),
        }

    def _of_series(self) -> dict[str, Any]:
        if not self.job.of_series:
            return {}
        formats = [] if self.output.mask is None else ["nifti"]
        return {"formats": [*formats, *self.output.objects]} | asdict(self.output.object_options)

    def committed(
        self,
        scan_is_same: Callable[[dict[str, Any]], bool] | None = None,
        files_are_intact: Callable[[dict[str, Any], Path], bool] | None = None,
    ) -> dict[str, Any] | None:
        """The record, if it commits this scan, model and settings, and its files are intact.

        Args:
            scan_is_same: says it of the record's scan, where that is not read here.
            files_are_intact: says it of the files of a record at a path, where they are not here.
        """
        record = read_record(self.path)
        if record is None or not is_complete(record):
            return None
        if _ALL_SLICES | record["settings"] != self.settings():
            return None
        if record["model"]["sha256"] != self.model_sha256:
            return None
        if files_are_intact is None:
            facts = self._recorded(record)
            intact = all(one is not None and matches(*one) for one in facts)
        else:
            intact = files_are_intact(record, self.path)
        if not intact:
            return None
        if scan_is_same is not None:
            return record if scan_is_same(record) else None
        try:
            return record if record["scan"]["sha256"] == self._scan_sha256() else None
        except (OSError, LitsError):  # opening it will say what is wrong
            return None

    def _recorded(self, record: dict[str, Any]) -> Iterator[tuple[Path, dict[str, Any]] | None]:
        """Path and facts of each result; None for one that the record lacks.

        What is made of a series depends on the labels: no SEG where there are none, and a picture
        for each slice with some. The record says what there is.
        """
        if self.job.of_series:
            files: dict[str, Any] = record["files"]
            yield from ((self.path.parent / name, facts) for name, facts in files.items())
            return
        for path in self.files.results:
            facts = facts_of(record, self.path, path)
            yield None if facts is None else (path, facts)

    def _scan_sha256(self) -> str:
        if self.job.series is None:
            return file_sha256(self.job.scan)
        from lits_runtime.volumes.dicom.source import DicomSource

        return DicomSource(self.job.series).content_sha256()

    def ours(self, path: Path) -> bool:
        """Whether the file at one of the results' paths, or at the record's, is ours to replace.

        A record of another mask is not: those of "a.nii" and "a.nii.gz" have the same name.
        """
        record = read_record(self.path)
        if record is None or path != self.path:
            return explains(record, self.path, path)
        of_folder = self.job.series is not None and self.path.name == FOLDER_RECORD
        nothing_found = self.job.series is not None and not record.get("files")
        if "files" not in record or of_folder or nothing_found:
            return True
        return facts_of(record, self.path, self.job.mask) is not None

    def names(self, path: Path) -> bool:
        """Whether the record names one of the results, whatever its content is now."""
        record = read_record(self.path)
        return record is not None and facts_of(record, self.path, path) is not None

    def begin_naming(self, facts: dict[Path, FileFacts]) -> list[Path]:
        """Record the files that are about to take their names, and those of ours they replace.

        Returns:
            Those that nothing takes the place of: older objects of the same series, for example
            more pictures than there are now.
        """
        before, older = read_record(self.path), self._older(facts)
        ours = [
            path for path in (*facts, *older) if path.exists() and explains(before, self.path, path)
        ]
        replaced = {name_in_record(self.path, path): [facts_now(path).to_json()] for path in ours}
        record = {"record_version": RECORD_VERSION, "state": "naming", "files": self._files(facts)}
        write_record(self.path, record | ({"replaces": replaced} if replaced else {}))
        return [path for path in older if path in ours]

    def _older(self, facts: dict[Path, FileFacts]) -> list[Path]:
        """Objects of a series, by the names that we give them, that are not among the new files."""
        if self.job.series is None:
            return []
        if self.path.name != FOLDER_RECORD:
            return [] if self.job.mask in facts else [self.job.mask]
        there = {name: self.path.parent / file for name, file in FORMATS.items()}
        captures = pictures(there.pop("sc"))
        return [path for path in (*there.values(), *captures) if path not in facts]

    def commit(
        self, report: Report, facts: dict[Path, FileFacts], metadata: ModelMetadata
    ) -> dict[str, Any]:
        """Write the record of results that have their names, with size and digest of each."""
        found = report.to_json()
        del found["applied"]  # it is among the settings
        record: dict[str, Any] = {
            "record_version": RECORD_VERSION,
            "state": "done",
            "warnings": list(found.pop("warnings")),
            "scan": {
                "name": self.job.scan.name if self.job.series is None else self.job.series.name,
                "bytes": found.pop("scan_bytes"),
                "sha256": found.pop("scan_sha256"),
            },
            "model": {
                "sha256": found.pop("model_sha256"),
                "recipe": metadata.recipe,
                "precision": metadata.precision,
                "intended_use": metadata.intended_use,
            },
            "settings": self.settings(),
            **found,
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "files": self._files(facts),
        }
        return write_record(self.path, record)

    def _files(self, facts: dict[Path, FileFacts]) -> dict[str, Any]:
        return {
            name_in_record(self.path, path): written.to_json() for path, written in facts.items()
        }
