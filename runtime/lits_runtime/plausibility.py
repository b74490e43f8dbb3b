"""Is this a CT in millimetres? What a caller should know before believing a volume in ml."""

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from lits_runtime.volume import Scan

SPACING_MM = (0.2, 10.0)
"""Voxel sizes of CT; beyond them the units are wrong, or the header."""
LEAST_HU, LARGEST_HU = -150.0, 100.0
"""Every CT shows air or fat under the first value, and contrast or bone over the second."""
MOST_HU = 32767.0


def geometry_warnings(scan: Scan) -> list[str]:
    """What is odd about the grid, told by the header alone."""
    affine, spacing_mm = scan.geometry.affine, scan.geometry.spacing_mm
    warnings = []
    if not all(SPACING_MM[0] <= size <= SPACING_MM[1] for size in spacing_mm):
        sizes = " x ".join(f"{size:.4g}" for size in spacing_mm)
        warnings.append(
            f"voxels of {sizes} mm are not CT's ({SPACING_MM[0]} to {SPACING_MM[1]} mm): volumes "
            "in ml and diameters in mm are likely wrong"
        )
    if np.allclose(abs(affine), np.eye(4), atol=1e-6):
        warnings.append(
            "the affine is the identity: spacing and orientation are likely lost, and with them "
            "left and right"
        )
    if isinstance(scan.image, nib.Nifti1Pair) and scan.file is not None:
        warnings += _form_warnings(scan.image.header)
    return warnings


def _form_warnings(header: nib.Nifti1Header) -> list[str]:
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    if not sform and not qform:
        return ["neither sform nor qform is set: the orientation is a guess"]
    if not (sform and qform):
        return []
    try:
        with np.errstate(all="ignore"):
            by_sform, by_qform = header.get_sform(), header.get_qform()
    except (HeaderDataError, ValueError):
        return ["the qform is not a rotation: the sform is taken"]
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
    corners[:, :3] *= np.array(header.get_data_shape()[:3])
    apart_mm = float(np.linalg.norm((corners @ (by_sform - by_qform).T)[:, :3], axis=1).max())
    if apart_mm < 0.5 * min(header.get_zooms()[:3]):  # a qform cannot hold shear, and rounds
        return []
    return [f"sform and qform place the volume up to {apart_mm:.1f} mm apart: the sform is taken"]


def range_warnings(lowest_hu: float, highest_hu: float) -> list[str]:
    """What is odd about the values, once all were seen."""
    seen = f"values from {lowest_hu:.6g} to {highest_hu:.6g}"
    if lowest_hu > LEAST_HU:
        return [f"{seen}, no air or fat: not Hounsfield units (an MR, a picture, or no intercept?)"]
    if highest_hu < LARGEST_HU:
        return [f"{seen}, no contrast or bone: not Hounsfield units (scaled, or a mask?)"]
    if highest_hu > MOST_HU or lowest_hu < -MOST_HU - 1:
        return [f"{seen}: not Hounsfield units"]
    return []
