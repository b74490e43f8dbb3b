"""Warnings about a scan and its result: reasons to doubt volumes and diameters."""

import numpy as np

from lits_runtime.errors import VolumeError
from lits_runtime.measure.volumes_ml import Tally
from lits_runtime.plausibility.anatomy import Found, result_warnings
from lits_runtime.plausibility.hounsfield import value_warnings
from lits_runtime.plausibility.overview import Overview
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.scan import Scan

SPACING_MM = (0.2, 10.0)
"""Voxel sizes of CT; beyond them the unit or the header is wrong."""
POSSIBLE_MM = (0.02, 100.0)
NARROWEST_MM, WIDEST_MM = 100.0, 1000.0
"""Of an axial slice; scanners reconstruct up to 700 mm, extended to 820 mm."""
_FULL_MATRIX = 64
"""Pixels along a side of an axial slice that is not a crop."""
LEAST_HU, LARGEST_HU = -150.0, 100.0
"""Every CT has air or fat below the first value, and contrast agent or bone above the second."""
MOST_HU = 32767.0
MOST_WARNINGS = 4
"""In a report, the most important first."""


def refuse_impossible_spacing(scan: Scan) -> None:
    """Refuse voxel sizes that no CT can have, so that no absurd volume is reported.

    Raises:
        VolumeError: voxels of under `POSSIBLE_MM[0]` or over `POSSIBLE_MM[1]` along an axis.
    """
    spacing_mm = scan.geometry.spacing_mm
    if all(POSSIBLE_MM[0] <= size <= POSSIBLE_MM[1] for size in spacing_mm):
        return
    guess = "micrometres" if max(spacing_mm) > POSSIBLE_MM[1] else "metres"
    raise VolumeError(
        f"{scan.name}: voxels of {_sizes(spacing_mm)} mm, which no CT has: the header's unit is "
        f"{guess}, or it is damaged; write sform, qform and pixdim in mm"
    )


def geometry_warnings(scan: Scan) -> list[str]:
    """What is odd about the grid, by the header alone."""
    geometry, warnings = scan.geometry, list(scan.notes)
    if not all(SPACING_MM[0] <= size <= SPACING_MM[1] for size in geometry.spacing_mm):
        warnings.append(
            f"voxels of {_sizes(geometry.spacing_mm)} mm are not CT's ({SPACING_MM[0]} to "
            f"{SPACING_MM[1]} mm): volumes in ml and diameters in mm are likely wrong"
        )
    else:
        warnings += _form_of_slices(geometry)
    if np.allclose(abs(geometry.affine), np.eye(4), atol=1e-6):
        warnings.append(
            "the affine is the identity: spacing and orientation are likely lost, and with them "
            "left and right"
        )
    return warnings


def _form_of_slices(geometry: Geometry) -> list[str]:
    _, rows, columns = geometry.canonical_axes
    slices, height, width = geometry.canonical_shape
    row_mm, column_mm = geometry.spacing_mm[rows], geometry.spacing_mm[columns]
    warnings = []
    if max(row_mm, column_mm) > 1.25 * min(row_mm, column_mm):
        warnings.append(
            f"pixels of {column_mm:.4g} x {row_mm:.4g} mm in axial slices, CT's are square: "
            "axes swapped, or not an axial scan"
        )
    widest = max(height * row_mm, width * column_mm)
    narrowest = min(height * row_mm, width * column_mm)
    if widest > WIDEST_MM or (narrowest < NARROWEST_MM and min(height, width) >= _FULL_MATRIX):
        warnings.append(
            f"axial slices of {width * column_mm:.4g} x {height * row_mm:.4g} mm, CT's are "
            f"{NARROWEST_MM:.0f} to {WIDEST_MM:.0f} mm wide: volumes in ml are likely wrong"
        )
    if slices < 3 and height * width >= _FULL_MATRIX**2:
        warnings.append(f"{slices} axial slice{'s' * (slices > 1)}: volumes mean little")
    return warnings


def _sizes(spacing_mm: tuple[float, float, float]) -> str:
    return " x ".join(f"{size:.4g}" for size in spacing_mm)


def range_warnings(lowest_hu: float, highest_hu: float) -> list[str]:
    """What is odd about the range of all values."""
    if lowest_hu == highest_hu:
        return [f"all values are {lowest_hu:.6g}: an empty image"]
    seen = f"values from {lowest_hu:.6g} to {highest_hu:.6g}"
    if lowest_hu > LEAST_HU:
        return [f"{seen}, no air or fat: not Hounsfield units (an MR image, or no intercept?)"]
    if highest_hu < LARGEST_HU:
        return [f"{seen}, no contrast or bone: not Hounsfield units (scaled, or a mask?)"]
    if highest_hu > MOST_HU or lowest_hu < -MOST_HU - 1:
        return [f"{seen}: not Hounsfield units"]
    return []


def scan_warnings(
    overview: Overview, tally: Tally, lesion_count: int, classes: tuple[str, ...]
) -> list[str]:
    """What is odd about the values and the result, once all slices are segmented."""
    warnings = range_warnings(tally.lowest_hu, tally.highest_hu) or value_warnings(overview.hu)
    if "liver" in classes:
        liver_ml = tally.volumes_ml(classes)["liver"]
        warnings += result_warnings(
            overview, Found(liver_ml, lesion_count, bool(tally.liver_cut()))
        )
    return warnings
