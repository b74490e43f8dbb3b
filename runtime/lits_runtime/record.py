"""The record beside a mask: what it was made from, written last, so that it is the commit."""

import datetime
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lits_runtime.atomic import atomic_path
from lits_runtime.metadata import ModelMetadata
from lits_runtime.names import stem_and_ending
from lits_runtime.options import Options
from lits_runtime.versions import versions

if TYPE_CHECKING:
    from lits_runtime.outputs import Outputs
    from lits_runtime.report import Report

RECORD_VERSION = 1


def record_path(mask: Path) -> Path:
    """Where the record of a mask is: "a_mask.nii.gz" has "a_mask.json"."""
    return mask.with_name(stem_and_ending(mask.name)[0] + ".json")


def read_record(mask: Path) -> dict[str, Any] | None:
    """The record of a mask; None if there is none, or it is not one."""
    try:
        content = json.loads(record_path(mask).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.get("record_version") != RECORD_VERSION:
        return None
    return content


def unexplained(masks: Iterable[Path]) -> list[Path]:
    """Masks that exist, but that no record says to be ours to overwrite."""
    return [mask for mask in masks if mask.exists() and read_record(mask) is None]


@dataclass(frozen=True)
class Cause:
    """What decides a mask. Equal causes give equal masks, so that one need not be made again."""

    model_sha256: str
    options: Options
    outputs: "Outputs"

    def settings(self) -> dict[str, Any]:
        """As it stands in a record."""
        return self.options.to_json() | {
            "mask_kind": self.outputs.mask_kind,
            "probability": self.outputs.probability is not None,
        }

    def committed(self, scan: Path) -> dict[str, Any] | None:
        """The record, if it commits to this scan, model and settings, and its files are whole."""
        from lits_runtime.nifti import file_sha256

        assert self.outputs.mask is not None
        record = read_record(self.outputs.mask)
        if record is None or record.get("state") != "done":
            return None
        if record.get("settings") != self.settings():
            return None
        try:
            if record["model"]["sha256"] != self.model_sha256:
                return None
            wanted = {path: record["files"][path.name] for path in self._files(record)}
            if any(file_facts(path) != facts for path, facts in wanted.items()):
                return None
            return record if record["scan"]["sha256"] == file_sha256(scan) else None
        except (KeyError, TypeError, AttributeError, OSError):
            return None

    def _files(self, record: dict[str, Any]) -> list[Path]:
        assert self.outputs.mask is not None
        files = [self.outputs.mask]
        if self.outputs.probability is not None:
            files += [self.outputs.probability_path(name) for name in record["volumes_ml"]]
        return files

    def begin(self) -> None:
        """Mark that what is at the mask's path from now on is ours, though not committed."""
        self._write({"record_version": RECORD_VERSION, "state": "running"})

    def commit(self, scan: Path, report: "Report", metadata: ModelMetadata) -> dict[str, Any]:
        """Write the record of a mask that is in place."""
        facts = report.to_json()
        record: dict[str, Any] = {
            "record_version": RECORD_VERSION,
            "state": "done",
            "warnings": list(facts.pop("warnings")),
            "scan": {
                "name": scan.name,
                "bytes": scan.stat().st_size,
                "sha256": facts.pop("scan_sha256"),
            },
            "model": {
                "sha256": facts.pop("model_sha256"),
                "recipe": metadata.recipe,
                "precision": metadata.precision,
                "intended_use": metadata.intended_use,
            },
            "settings": self.settings(),
            **facts,
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": versions(),
        }
        record["files"] = {path.name: file_facts(path) for path in self._files(record)}
        return self._write(record)

    def _write(self, record: dict[str, Any]) -> dict[str, Any]:
        """Write a record and give it as it will be read: with lists for tuples."""
        assert self.outputs.mask is not None
        text = json.dumps(record, indent=1) + "\n"
        with atomic_path(record_path(self.outputs.mask)) as temporary:
            temporary.write_text(text)
        written: dict[str, Any] = json.loads(text)
        return written


def file_facts(path: Path) -> dict[str, Any]:
    """Size and digest of a file."""
    from lits_runtime.nifti import file_sha256

    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
