"""The format "in memory": nibabel images and arrays as sources, an array as a sink."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from lits_runtime.errors import VolumeError
from lits_runtime.messages import printable
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.library_errors import as_volume_error
from lits_runtime.volumes.nifti.grid import grid_of
from lits_runtime.volumes.source import Verified

FORMS = (
    "expected a path, a file opened with 'rb', a nibabel image, or a tuple of an array (i, j, k) "
    "of HU and its affine (4, 4)"
)
_WIDEST = np.iinfo(np.int32)
_NIFTI1_SIZE = 2**15 - 1


class MemorySource:
    """A nibabel image, of whatever format and with or without a file; see `VolumeSource`."""

    in_memory = True
    size_bytes = None

    def __init__(self, image: SpatialImage, name: str, origins: tuple[Path, ...] = ()) -> None:
        self.image, self.name, self.origins = image, printable(name), origins
        self.geometry, self.notes = grid_of(image, self.name)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the image's values."""
        dtype: np.dtype[Any] = self.image.get_data_dtype()
        return dtype

    @contextmanager
    def planes(self) -> Iterator["_ArrayPlanes"]:
        """Begin a pass; nibabel loads the values if it has not."""
        with as_volume_error(self.name, "truncated or damaged"):
            values = plain(np.asanyarray(self.image.dataobj))
        yield _ArrayPlanes(values.reshape(self.geometry.shape))

    def read(self, index: tuple[slice, slice, slice]) -> NDArray[Any]:
        """Any part."""
        with as_volume_error(self.name, "truncated or damaged"):
            further = (0,) * (len(self.image.shape) - 3)
            return plain(np.asanyarray(self.image.dataobj[(*index, *further)]))

    def to_hu(self, stored: NDArray[Any]) -> NDArray[Any]:
        """The same: nibabel has scaled the values."""
        return stored

    def close(self) -> None:
        """The image stays its owner's."""


class _ArrayPlanes:
    def __init__(self, values: NDArray[Any]) -> None:
        self._values, self._position = values, 0

    def read(self, count: int) -> NDArray[Any]:
        first, self._position = self._position, self._position + count
        return self._values[:, :, first : self._position].T

    def finish(self) -> Verified:
        return Verified()


class ArraySink:
    """Keeps a mask in memory, in the scan's stored axis order; see `LabelSink`."""

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self.labels = np.zeros(geometry.shape, np.uint8, order="F")
        """(i, j, k)."""

    def put(self, start: int, labels: NDArray[np.uint8]) -> None:
        """Keep canonical slices."""
        index = self._geometry.stored_range(start, start + len(labels))
        self.labels[index] = self._geometry.from_canonical(labels)

    def finish(self) -> None:
        """All is there."""

    def close(self) -> None:
        """What was kept stays."""


def image_of_array(source: tuple[Any, ...]) -> SpatialImage:
    """A nibabel image of (array (i, j, k) of HU, affine (4, 4)).

    The array is copied only if NIfTI or common readers lack its type: float16 becomes float32,
    wider floats float64, 64-bit integers int32.

    Raises:
        VolumeError: the tuple has another form, the array holds no numbers, or some beyond int32,
            or the affine is not that of a volume.
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
    """An array that is not a masked array.

    Raises:
        VolumeError: values are masked, so that their HU are unknown.
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
        with np.errstate(over="ignore"):  # infinite values are refused later
            return values.astype(np.float64) if values.dtype.itemsize > 8 else values
    if values.dtype.itemsize < 8:
        return values
    low, high = int(values.min()), int(values.max())
    if low < _WIDEST.min or high > _WIDEST.max:
        raise VolumeError(f"values from {low} to {high} are not HU: convert and rescale the array")
    return values.astype(np.int32)
