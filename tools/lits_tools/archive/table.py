"""The table of an archive: a row for each scan, written as Parquet."""

import io
import re
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from lits_tools.archive.found import FoundJob

_LESION = pa.struct(
    [
        ("volume_ml", pa.float64()),
        ("longest_axial_diameter_mm", pa.float64()),
        ("mean_hu", pa.float64()),
    ]
)
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("scan", pa.string()),
        ("state", pa.string()),
        ("liver_ml", pa.float64()),
        ("lesion_ml", pa.float64()),
        ("burden_percent", pa.float64()),
        ("lesion_count", pa.int64()),
        ("lesions", pa.list_(_LESION)),
        ("warnings", pa.list_(pa.string())),
        ("liver_cut", pa.list_(pa.string())),
        ("slices", pa.int64()),
        ("slices_looked_at", pa.int64()),
        ("slice_mm", pa.float64()),
        ("seconds", pa.float64()),
        ("scan_mb", pa.float64()),
        ("provider", pa.string()),
        ("model_sha256", pa.string()),
        ("finished", pa.string()),
        ("error_kind", pa.string()),
        ("error", pa.string()),
        ("attempts", pa.int64()),
        ("files", pa.list_(pa.string())),
    ]
)
_ROWS = 5000


def table_of(jobs: Iterable[FoundJob]) -> pa.Table:
    """All jobs; of 100,000 the columns take about as much memory as the file."""
    batches, rows = [], list[dict[str, Any]]()
    for job in jobs:
        rows.append(_row(job))
        if len(rows) == _ROWS:
            batches.append(pa.RecordBatch.from_pylist(rows, SCHEMA))
            rows = []
    batches.append(pa.RecordBatch.from_pylist(rows, SCHEMA))
    return pa.Table.from_batches(batches, SCHEMA)


def as_parquet(table: pa.Table) -> bytes:
    """The content of the file."""
    sink = io.BytesIO()
    parquet.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def kind_of(message: str) -> str:
    """A warning or an error without what is peculiar to one scan, to be counted.

    >>> kind_of("/a/b.nii.gz: the liver has 3.2 ml")
    'the liver has … ml'
    """
    text = re.sub(r"^\S*[/.]\S*: ", "", message)
    text = re.sub(r"\S*/\S+", "…", text)
    return re.sub(r"[-+]?\d[\d.,]*(e[-+]?\d+)?", "…", text)


def _row(job: FoundJob) -> dict[str, Any]:
    row: dict[str, Any] = {"id": job.id, "state": job.state, "files": list(job.files)}
    if job.failure is not None:
        failure = job.failure
        return row | {
            "scan": failure.scan,
            "error_kind": failure.kind,
            "error": failure.error,
            "attempts": failure.attempts,
            "finished": failure.at,
        }
    record = job.record or {}
    volumes, scan = record.get("volumes_ml", {}), record.get("scan", {})
    return row | {
        "scan": scan.get("name"),
        "liver_ml": volumes.get("liver"),
        "lesion_ml": volumes.get("lesion"),
        "burden_percent": record.get("tumour_burden_percent"),
        "lesion_count": record.get("lesion_count"),
        "lesions": [{name: one.get(name) for name in _LESION_NAMES} for one in record["lesions"]],
        "warnings": record.get("warnings"),
        "liver_cut": record.get("liver_cut"),
        **_grid(record),
        "slices_looked_at": record.get("slices_looked_at"),
        "seconds": record.get("seconds"),
        "scan_mb": None if scan.get("bytes") is None else scan["bytes"] / 1e6,
        "provider": record.get("provider"),
        "model_sha256": record.get("model", {}).get("sha256"),
        "finished": record.get("finished"),
    }


_LESION_NAMES = [_LESION.field(number).name for number in range(_LESION.num_fields)]


def _grid(record: dict[str, Any]) -> dict[str, Any]:
    """Number and distance of axial slices."""
    codes, shape, spacing = (record.get(name) for name in ("axis_codes", "shape", "spacing_mm"))
    axes = [axis for axis, code in enumerate(codes or "") if code in "SI"]
    if not axes or not shape or not spacing:
        return {"slices": None, "slice_mm": None}
    return {"slices": shape[axes[0]], "slice_mm": spacing[axes[0]]}
