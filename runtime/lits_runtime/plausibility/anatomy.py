"""Whether the labels look like a liver in its place, judged on a coarse copy of them.

The limits are wider than what 31 scans of LiTS and others showed: the largest part of the liver had
90 % or more of it, its mean was between 30 and 150 HU, its centre was 0.13 to 0.43 half widths to
the right, and that of the bones 0.07 half depths or more to the back.
"""

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray

from lits_runtime.labels import LIVER, liver_mask
from lits_runtime.plausibility.overview import LEAST_VOXELS, Overview

_LIVER_HU = (-20, 250)
_LIVER_ML = (100, 6000)
"""From a newborn's liver to one full of cysts."""
_LEAST_SHARE = 0.8
_MOST_LESIONS = 200
_BODY_HU, _BONE_HU = -200, 300
_LUNG_HU = (-950, -600)
_LEAST_LIVER = 100
"""The least voxels of liver in the overview by which its form is judged."""


@dataclass(frozen=True)
class Found:
    """The measurements of a segmentation that are judged."""

    liver_ml: float
    """Lesions included."""
    lesion_count: int
    cut: bool
    """Whether the liver reaches the edge of the field of view."""


def result_warnings(overview: Overview, found: Found) -> list[str]:
    """What is odd about the segmented liver, one line each."""
    if overview.hu.size < LEAST_VOXELS:
        return []
    if not found.liver_ml:
        return ["no liver was found: does the scan show the upper abdomen?"]
    warnings = _of_figures(found)
    if np.count_nonzero(overview.labels) >= _LEAST_LIVER:
        warnings += [*_of_values(overview), *_of_parts(overview), *_of_place(overview)]
    return warnings


def _of_figures(found: Found) -> list[str]:
    warnings = []
    least, most = _LIVER_ML
    if found.liver_ml > most or (found.liver_ml < least and not found.cut):
        warnings.append(
            f"a liver of {found.liver_ml:.4g} ml, expected {least} to {most}: another part of the "
            "body, wrong units, or a failure of the model"
        )
    if found.lesion_count > _MOST_LESIONS:
        warnings.append(f"{found.lesion_count} lesions: noise, or values that are not in HU?")
    return warnings


def _of_values(overview: Overview) -> list[str]:
    values = overview.hu[overview.labels == LIVER]
    mean = float(values.mean(dtype=np.float64)) if values.size else 0.0
    if _LIVER_HU[0] <= mean <= _LIVER_HU[1]:
        return []
    return [
        f"the segmented liver has {mean:.0f} HU on average, expected {_LIVER_HU[0]} to "
        f"{_LIVER_HU[1]}: not a liver, or not Hounsfield units"
    ]


def _of_parts(overview: Overview) -> list[str]:
    """Voxels of the coarse grid are connected by faces, edges and corners."""
    parts = cc3d.connected_components(liver_mask(overview.labels), connectivity=26)
    sizes = np.bincount(parts.ravel())[1:]
    share = float(sizes.max() / sizes.sum())
    if share >= _LEAST_SHARE:
        return []
    return [
        f"the liver is in {len(sizes)} parts, the largest with {100 * share:.0f} % of it: another "
        "part of the body, or a lost orientation?"
    ]


def _of_place(overview: Overview) -> list[str]:
    liver = liver_mask(overview.labels)
    hu = overview.hu[liver.any(axis=(1, 2))]
    body, bone = hu > _BODY_HU, hu > _BONE_HU
    warnings = []
    if _offset(liver.sum(axis=(0, 1)), body.sum(axis=(0, 1))) > 0.05:
        warnings.append(
            "the liver is on the patient's left: left and right are swapped in the header, or the "
            "organs are (situs inversus)"
        )
    if _offset(bone.sum(axis=(0, 2)), body.sum(axis=(0, 2))) < -0.1:
        warnings.append("the bones are in front: front and back are swapped in the header")
    if _lungs_below(overview, liver):
        warnings.append("the lungs are below the liver: head and feet are swapped in the header")
    return warnings


def _lungs_below(overview: Overview, liver: NDArray[np.bool_]) -> bool:
    body = overview.hu > _BODY_HU
    inside = np.maximum.accumulate(body, 2)
    inside &= np.maximum.accumulate(body[:, :, ::-1], 2)[:, :, ::-1]
    lung = (overview.hu > _LUNG_HU[0]) & (overview.hu < _LUNG_HU[1]) & inside
    by_slice, liver_by_slice = lung.sum(axis=(1, 2)), liver.sum(axis=(1, 2))
    middle = int(np.arange(len(liver)) @ liver_by_slice / liver_by_slice.sum())
    above, below = int(by_slice[middle + 1 :].sum()), int(by_slice[:middle].sum())
    return below > 4 * above and below > 0.03 * int(np.count_nonzero(body))


def _offset(part: NDArray[np.integer], whole: NDArray[np.integer]) -> float:
    """The offset of the centre of a part from that of the whole, in half widths of the whole.

    >>> _offset(np.array([0, 0, 0, 1]), np.array([1, 1, 1, 1]))
    0.67...
    """
    if not part.any() or not whole.any():
        return 0.0
    places = np.arange(len(part))
    middle = float(places @ whole) / whole.sum()
    half_width = 2 * np.sqrt(max(float(places**2 @ whole) / whole.sum() - middle**2, 0.25))
    return float((float(places @ part) / part.sum() - middle) / half_width)
