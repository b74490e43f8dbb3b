"""The results of a batch as one file: JSON, or CSV with a row per lesion."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lits_runtime.batch.job_files import OutputPlan
from lits_runtime.files.atomic import NewFiles
from lits_runtime.files.output_rule import Inputs, check_target, state_of
from lits_runtime.messages import csv_cell
from lits_runtime.records.record_file import RECORD_VERSION, explains, read_record, write_record

_SCAN_COLUMNS = ("scan", "mask", "status", "warnings", "liver_ml", "lesion_ml", "burden_percent")
_LESION_COLUMNS = (
    "volume_ml",
    "longest_axial_diameter_mm",
    "equivalent_sphere_diameter_mm",
    "centroid_x_mm",
    "centroid_y_mm",
    "centroid_z_mm",
    "first_slice",
    "last_slice",
    "mean_hu",
    "sd_hu",
    "mean_probability",
    "largest_probability",
)


class ReportFile:
    """The report to write when all scans are done, and a hidden record that identifies it as ours.

    A spreadsheet may save a changed copy under the same name. The record, ".NAME.record", holds
    size and digest of what we wrote, so that a rerun replaces that and nothing else.

    Args:
        path: .json or .csv.
        force: replace a file that the record does not explain.
    """

    def __init__(self, path: Path, *, force: bool = False) -> None:
        self.path, self._force = path, force
        self._record = path.with_name(f".{path.name}.record")
        self._seen = state_of([path])

    def check(self, outputs: OutputPlan) -> None:
        """Check the report by the rule for outputs, together with those of a batch.

        Raises:
            OutputError: an existing file must not be overwritten.
        """
        outputs.check_own_name(self.path)
        self._check_file(outputs.inputs)

    def write(self, outcomes: Sequence[dict[str, Any]]) -> None:
        """Write outcomes (`Outcome.to_json`), whole or not at all.

        The CSV has a row for each lesion, and one with empty lesion columns for a scan without.

        Raises:
            OutputError: another process wrote to the file since it was checked.
        """
        if state_of([self.path]) != self._seen:
            check_target(
                self.path, Inputs(), force=self._force, found="was written by another process"
            )
        text = _json(outcomes) if self.path.suffix == ".json" else _csv(outcomes)
        with NewFiles() as new:
            new.open(self.path).write(text.encode())
            files = {path.name: facts.to_json() for path, facts in new.close().items()}
            record = {"record_version": RECORD_VERSION, "state": "naming", "files": files}
            known = read_record(self._record)
            if known is not None and explains(known, self.path, self.path):
                record["replaces"] = {name: [facts] for name, facts in known["files"].items()}
            write_record(self._record, record)
            new.take_names()

    def _check_file(self, inputs: Inputs) -> None:
        known = read_record(self._record)
        ours = self.path.exists() and explains(known, self.path, self.path)
        found = "exists, and no record of ours explains it"
        if known is not None:
            found = "was changed after we wrote it, and is kept"
        check_target(self.path, inputs, force=self._force, ours=ours, found=found)
        if self._record.exists():
            check_target(self._record, inputs, force=self._force, ours=known is not None)


def write_report(outcomes: Sequence[dict[str, Any]], path: Path, *, force: bool = False) -> None:
    """Write outcomes (`Outcome.to_json`) as .json or .csv; see `ReportFile`.

    Raises:
        OutputError: a file of others exists, and `force` is not given.
    """
    report = ReportFile(path, force=force)
    report.check(OutputPlan([], [], Inputs()))
    report.write(outcomes)


def _json(outcomes: Sequence[dict[str, Any]]) -> str:
    return json.dumps(list(outcomes), indent=1) + "\n"


def _csv(outcomes: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow([*_SCAN_COLUMNS, "lesion", *_LESION_COLUMNS])
    for outcome in outcomes:
        table.writerows([*map(csv_cell, row)] for row in _rows(outcome))
    return text.getvalue()


def _rows(outcome: dict[str, Any]) -> list[list[Any]]:
    record = outcome["record"] or {}
    volumes_ml = record.get("volumes_ml", {})
    scan = [
        outcome["scan"],
        outcome["mask"],
        outcome["status"],
        "; ".join(record.get("warnings", [])) or outcome["error"],
        volumes_ml.get("liver"),
        volumes_ml.get("lesion"),
        record.get("tumour_burden_percent"),
    ]
    lesions = [
        [
            number,
            lesion.get("volume_ml"),
            lesion.get("longest_axial_diameter_mm"),
            lesion.get("equivalent_sphere_diameter_mm"),
            *lesion["centroid_mm"],
            *lesion["slices"],
            lesion.get("mean_hu"),
            lesion.get("sd_hu"),
            lesion.get("mean_probability"),
            lesion.get("largest_probability"),
        ]
        for number, lesion in enumerate(record.get("lesions", []), 1)
    ]
    return [scan + lesion for lesion in lesions or [[None] * (1 + len(_LESION_COLUMNS))]]
