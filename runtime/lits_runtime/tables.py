"""The results of a batch as one file: JSON, or CSV with a row per lesion."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lits_runtime.atomic import atomic_path

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


def write_report(outcomes: Sequence[dict[str, Any]], path: Path) -> None:
    """Write outcomes (`Outcome.to_json`) as .json or .csv, whole or not at all.

    The CSV has a row for each lesion, and one with empty lesion columns for a scan without.
    """
    with atomic_path(path) as temporary:
        if path.suffix == ".json":
            temporary.write_text(json.dumps(list(outcomes), indent=1) + "\n")
            return
        with temporary.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow([*_SCAN_COLUMNS, "lesion", *_LESION_COLUMNS])
            for outcome in outcomes:
                table.writerows(_rows(outcome))


def _rows(outcome: dict[str, Any]) -> list[list[Any]]:
    record = outcome["record"] or {}
    volumes_ml = record.get("volumes_ml", {})
    scan = [
        outcome["scan"].encode(errors="backslashreplace").decode(),
        outcome["mask"].encode(errors="backslashreplace").decode(),
        outcome["status"],
        "; ".join(record.get("warnings", [])) or outcome["error"],
        volumes_ml.get("liver"),
        volumes_ml.get("lesion"),
        record.get("tumour_burden_percent"),
    ]
    lesions = [
        [
            number,
            lesion["volume_ml"],
            lesion["longest_axial_diameter_mm"],
            lesion["equivalent_sphere_diameter_mm"],
            *lesion["centroid_mm"],
            *lesion["slices"],
            lesion["mean_hu"],
            lesion["sd_hu"],
            lesion["mean_probability"],
            lesion["largest_probability"],
        ]
        for number, lesion in enumerate(record.get("lesions", []), 1)
    ]
    return [scan + lesion for lesion in lesions or [[None] * (1 + len(_LESION_COLUMNS))]]
