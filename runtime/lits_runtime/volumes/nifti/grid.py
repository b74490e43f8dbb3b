"""The grid of a nibabel image, in millimetres whatever the unit of its header."""

from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from lits_runtime.errors import VolumeError
from lits_runtime.volumes.geometry import Geometry

_IN_MM = {1: ("metres", 1000.0), 3: ("micrometres", 0.001)}
"""By the code in `xyzt_units`. Code 2 is mm; 0, unknown, counts as mm too, as for all readers."""
_UNIT_BITS = 7
_LIKELY_MM = (0.1, 20.0)


def grid_of(image: SpatialImage, name: str) -> tuple[Geometry, tuple[str, ...]]:
    """The grid of an image of one CT volume, and notes on its header.

    Args:
        image: of three dimensions, or more of which the fourth and later are 1.
        name: for messages.

    Raises:
        VolumeError: not one volume of numbers, or without a valid affine.
    """
    shape = tuple(int(size) for size in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise VolumeError(f"{name}: {len(shape)} dimensions {shape}, expected one volume")
    dtype = image.get_data_dtype()
    if dtype.kind not in "iuf":
        raise VolumeError(f"{name}: voxels of type {dtype}, expected integers or floats")
    if image.affine is None:
        raise VolumeError(f"{name}: no affine; save the volume with an sform or a qform")
    try:
        affine, notes = affine_mm(image)
        return Geometry((shape[0], shape[1], shape[2]), affine), tuple(notes)
    except VolumeError as error:
        raise VolumeError(f"{name}: {error}") from None


def affine_mm(image: Any) -> tuple[NDArray[np.float64], list[str]]:
    """The affine of a nibabel image, (4, 4) in mm, and a note if its header has another unit.

    NIfTI allows metres and micrometres. Some headers name such a unit although their numbers are
    millimetres: if only one reading gives voxels of a size that CT has, it is taken.
    """
    affine = np.array(image.affine, float)
    if not isinstance(image, nib.Nifti1Pair):
        return affine, []
    code = int(image.header["xyzt_units"]) & _UNIT_BITS
    if code not in _IN_MM:
        return affine, []
    name, factor = _IN_MM[code]
    with np.errstate(all="ignore"):  # NaN is refused with the geometry
        if not _likely(affine * factor) and _likely(affine):
            return affine, [f"the header's unit is {name}, which cannot be right: taken as mm"]
        affine[:3] *= factor
    return affine, [f"the header's unit is {name}: converted to mm"]


def pixdim_notes(header: Any) -> list[str]:
    """What is odd about the voxel sizes of a NIfTI header as stored.

    nibabel silently replaces a size of 0 by 1 mm, and drops the sign of a negative one.
    """
    sizes = np.array(header["pixdim"][1:4], float)
    sform, qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    if not (sizes > 0).all():
        if sform:
            return []
        if (sizes != 0).all():
            return [f"pixdim is {_sizes(sizes)} and no sform is set: the signs are ignored"]
        return [
            f"pixdim is {_sizes(sizes)} and no sform is set: 0 is taken as 1 mm, and volumes in ml "
            "and diameters in mm are likely wrong"
        ]
    if not sform or qform:
        return []
    rows = np.array([header["srow_x"], header["srow_y"], header["srow_z"]], float)
    with np.errstate(all="ignore"):
        by_sform = np.linalg.norm(rows[:, :3], axis=0)
        agree = np.allclose(by_sform, sizes, rtol=0.05, atol=0)
    if agree:
        return []
    return [f"pixdim says {_sizes(sizes)}, the sform {_sizes(by_sform)} mm: the sform is used"]


def _likely(affine: NDArray[np.float64]) -> bool:
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    return bool(((sizes >= _LIKELY_MM[0]) & (sizes <= _LIKELY_MM[1])).all())


def _sizes(sizes: NDArray[np.float64]) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)
