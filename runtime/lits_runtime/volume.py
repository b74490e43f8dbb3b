"""CT volumes: how a NIfTI grid maps to the canonical orientation, and reading one slab of it.

Canonical arrays are (slices, height, width): slices run inferior to superior, rows anterior to
posterior, columns from the patient's right to the left. In nibabel's words the voxel axes
(column, row, slice) are then "LPS", the order in which most CT is stored.
"""

import math
import zlib
from dataclasses import dataclass
from functools import cached_property
from os import PathLike, fspath
from typing import Any, TypeAlias

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    io_orientation,
    ornt2axcodes,
    ornt_transform,
)
from nibabel.spatialimages import HeaderDataError, SpatialImage
from numpy.typing import ArrayLike, NDArray

from lits_runtime.errors import VolumeError

CANONICAL_AXES = ("L", "P", "S")
MAX_VOXELS = 2**31
"""A 1024 x 1024 CT of 2048 slices; a header that asks for more is taken for damaged or hostile."""

ScanSource: TypeAlias = "str | PathLike[str] | SpatialImage | tuple[ArrayLike, ArrayLike]"


@dataclass(frozen=True)
class Geometry:
    """The grid of a stored volume and the way from it to the canonical orientation and back."""

    shape: tuple[int, int, int]
    """Voxels along the stored axes (i, j, k)."""
    affine: NDArray[np.float64]
    """(4, 4) voxel-to-world, mm, RAS+."""

    @cached_property
    def _stored(self) -> NDArray[np.float64]:
        orientation: NDArray[np.float64] = io_orientation(self.affine)
        if not np.isfinite(self.affine).all() or np.isnan(orientation).any():
            raise VolumeError(
                "the affine does not span three directions: "
                f"{np.array2string(self.affine[:3, :3], separator=', ')}; repair the header's "
                "sform or qform"
            )
        return orientation

    @cached_property
    def _to_canonical(self) -> NDArray[np.float64]:
        transform: NDArray[np.float64] = ornt_transform(self._stored, axcodes2ornt(CANONICAL_AXES))
        return transform

    @cached_property
    def _from_canonical(self) -> NDArray[np.float64]:
        transform: NDArray[np.float64] = ornt_transform(axcodes2ornt(CANONICAL_AXES), self._stored)
        return transform

    @property
    def axis_codes(self) -> str:
        """Where the stored axes point, for example "LPS" or "RAS"."""
        return "".join(ornt2axcodes(self._stored))

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along each stored axis, in array order.

        >>> Geometry((4, 4, 2), np.diag([0.7, 0.7, 5.0, 1.0])).spacing_mm
        (0.7, 0.7, 5.0)
        """
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel, sheared grids included."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000

    @property
    def canonical_axes(self) -> tuple[int, int, int]:
        """The stored axes that run along the slices, rows and columns: (2, 1, 0) for most CT."""
        columns, rows, slices = np.argsort(self._to_canonical[:, 0]).tolist()
        return slices, rows, columns

    @property
    def canonical_shape(self) -> tuple[int, int, int]:
        """(slices, height, width)."""
        slices, rows, columns = self.canonical_axes
        return self.shape[slices], self.shape[rows], self.shape[columns]

    def stored_range(self, start: int, stop: int) -> tuple[slice, slice, slice]:
        """Index expression for the canonical slices `start` to `stop` of a stored array."""
        axis = self.canonical_axes[0]
        if self._to_canonical[axis, 1] < 0:
            start, stop = self.shape[axis] - stop, self.shape[axis] - start
        index = [slice(None)] * 3
        index[axis] = slice(start, stop)
        return index[0], index[1], index[2]

    def to_canonical(self, stored: NDArray[Any]) -> NDArray[Any]:
        """View of an (i, j, k) array, or of a `stored_range` of one, as (slices, height, width)."""
        oriented: NDArray[Any] = apply_orientation(stored, self._to_canonical)
        return oriented.transpose(2, 1, 0)

    def from_canonical(self, canonical: NDArray[Any]) -> NDArray[Any]:
        """View of a (slices, height, width) array in the stored axis order (i, j, k)."""
        stored: NDArray[Any] = apply_orientation(canonical.transpose(2, 1, 0), self._from_canonical)
        return stored


class Scan:
    """A CT volume on disk or in memory that is read in slabs of canonical axial slices.

    Nothing but the header is read until values are asked for. `read_slab` then reads only the
    slices asked for, which is cheap for `.nii` (memory-mapped), cheap for `.nii.gz` where the
    package indexed_gzip is installed, and slow otherwise: call `load` first to go through a whole
    compressed volume.
    """

    def __init__(self, image: SpatialImage, name: str) -> None:
        self.image = image
        self.name = name
        shape = tuple(int(size) for size in image.shape)
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) != 3:
            raise VolumeError(f"{name}: {len(shape)} dimensions {shape}, expected one 3D volume")
        if min(shape) < 1 or math.prod(shape) > MAX_VOXELS:
            raise VolumeError(f"{name}: shape {shape}, expected 1 to {MAX_VOXELS} voxels")
        dtype = image.get_data_dtype()
        if dtype.kind not in "iuf":
            raise VolumeError(f"{name}: voxels of type {dtype}, expected integers or floats")
        if image.affine is None:
            raise VolumeError(f"{name}: no affine; save the volume with an sform or a qform")
        self.geometry = Geometry((shape[0], shape[1], shape[2]), np.array(image.affine, float))
        self.geometry.axis_codes  # noqa: B018  (raises now if the affine is degenerate)
        self._stored: NDArray[Any] | None = None

    @classmethod
    def open(cls, source: ScanSource) -> "Scan":
        """Open a path, a nibabel image, or an array (i, j, k) of HU with its affine.

        Raises:
            VolumeError: the source is not a readable 3D volume.
            FileNotFoundError: there is no such file.
        """
        if isinstance(source, SpatialImage):
            return cls(source, source.get_filename() or "image")
        if isinstance(source, tuple):
            return cls(_image_of_array(*source), "array")
        name = fspath(source)
        try:
            image = nib.load(name)
        except FileNotFoundError:
            raise
        except (ImageFileError, HeaderDataError, EOFError, ValueError, zlib.error) as error:
            raise VolumeError(f"{name}: not a readable NIfTI volume: {error}") from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise VolumeError(f"{name}: not a readable NIfTI volume: {error}") from error
        if not isinstance(image, SpatialImage):
            raise VolumeError(f"{name}: a {type(image).__name__}, expected a NIfTI volume")
        return cls(image, name)

    def load(self) -> "Scan":
        """Read all values once; later slabs come from memory."""
        self._stored = self._read((slice(None), slice(None), slice(None)))
        return self

    def read_slab(self, start: int, stop: int, context_slices: int = 0) -> NDArray[np.float32]:
        """Hounsfield units of the canonical slices `start` to `stop` and their neighbours.

        Beyond the first and last slice the outermost slice is repeated.

        Returns:
            float32 (stop - start + 2 * context_slices, height, width), contiguous.

        Raises:
            VolumeError: the file is truncated or damaged, or holds values that are not finite.
        """
        slices = self.geometry.canonical_shape[0]
        low, high = max(start - context_slices, 0), min(stop + context_slices, slices)
        index = self.geometry.stored_range(low, high)
        stored = self._read(index) if self._stored is None else self._stored[index]
        slab = np.ascontiguousarray(self.geometry.to_canonical(stored), dtype=np.float32)
        if stored.dtype.kind == "f" and not np.isfinite(slab).all():
            raise VolumeError(
                f"{self.name}: values that are not finite between slices {low} and {high - 1}; "
                "replace them, for example by -1024"
            )
        before, after = low - (start - context_slices), stop + context_slices - high
        if before or after:
            slab = np.pad(slab, ((before, after), (0, 0), (0, 0)), mode="edge")
        return slab

    def _read(self, index: tuple[slice, slice, slice]) -> NDArray[Any]:
        extra = (0,) * (len(self.image.shape) - 3)
        try:
            return np.asanyarray(self.image.dataobj[(*index, *extra)])
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise VolumeError(f"{self.name}: truncated or damaged: {error}") from error


def _image_of_array(values: ArrayLike, affine: ArrayLike) -> SpatialImage:
    volume_hu, voxel_to_world = np.asarray(values), np.asarray(affine)
    if volume_hu.dtype.kind not in "iuf" or voxel_to_world.shape != (4, 4):
        raise VolumeError(
            f"array of {volume_hu.dtype} with an affine of shape {voxel_to_world.shape}: expected "
            "HU with a (4, 4) affine"
        )
    if volume_hu.dtype in (np.int64, np.uint64):  # NIfTI readers elsewhere do not take them
        volume_hu = volume_hu.astype(np.int32)
    return nib.Nifti1Image(volume_hu, voxel_to_world.astype(np.float64))
