"""HU and an affine that a caller holds in memory, as the image that stands for their file."""

from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from lits_runtime.errors import VolumeError
from lits_runtime.volumes.geometry import Geometry

FORMS = (
    "expected a path, a file opened with 'rb', a nibabel image, or a tuple of an array (i, j, k) "
    "of HU and its affine (4, 4)"
)
_WIDEST = np.iinfo(np.int32)
_NIFTI1_SIZE = 2**15 - 1


def image_of_array(source: tuple[Any, ...]) -> SpatialImage:
    """A nibabel image of (array (i, j, k) of HU, affine (4, 4)).

    The array is not copied, but for types that NIfTI or its other readers do not take: float16
    becomes float32, wider floats float64, 64-bit integers int32.

    Raises:
        VolumeError: the tuple is of another form, the array does not hold numbers, or numbers
            beyond int32, or the affine is not one of a volume.
    """
    if len(source) != 2:
        raise VolumeError(f"a tuple of {len(source)}: {FORMS}")
    values, affine = _array(source[0], "HU"), _array(source[1], "affine entries")
    if values.shape == (4, 4) and affine.shape != (4, 4) and affine.ndim > 2:
        raise VolumeError(f"an affine before the array {affine.shape}: {FORMS}")
    if values.dtype.kind not in "iuf" or affine.shape != (4, 4):
        raise VolumeError(
            f"array of {values.dtype} with an affine of shape {affine.shape}: expected HU with a "
            "(4, 4) affine"
        )
    shape = values.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 1:
        raise VolumeError(f"array: {len(shape)} dimensions {shape}, expected one volume (i, j, k)")
    grid = Geometry((shape[0], shape[1], shape[2]), affine)
    kind: Any = nib.Nifti1Image if max(shape) <= _NIFTI1_SIZE else nib.Nifti2Image
    image: SpatialImage = kind(_of_nifti_type(plain(values)), grid.affine)
    return image


def plain(values: NDArray[Any]) -> NDArray[Any]:
    """An array without a mask.

    Raises:
        VolumeError: values are masked, so that nobody knows their HU.
    """
    if not isinstance(values, np.ma.MaskedArray):
        return values
    if np.ma.is_masked(values):
        raise VolumeError("a masked array: fill what is masked, for example array.filled(-1024)")
    return np.asarray(values.data)


def _array(part: Any, what: str) -> NDArray[Any]:
    try:
        return np.asanyarray(part)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, tensors on a GPU
        raise VolumeError(f"{what} that are not an array ({error}): {FORMS}") from error


def _of_nifti_type(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind == "f":
        if values.dtype.itemsize == 2:
            return values.astype(np.float32)
        with np.errstate(over="ignore"):  # what overflows is refused with the values
            return values.astype(np.float64) if values.dtype.itemsize > 8 else values
    if values.dtype.itemsize < 8:
        return values
    low, high = int(values.min()), int(values.max())
    if low < _WIDEST.min or high > _WIDEST.max:
        raise VolumeError(f"values from {low} to {high} are not HU: convert the array, and rescale")
    return values.astype(np.int32)
