"""CT volumes: what may be opened, and reading slabs of canonical axial slices of it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from nibabel.spatialimages import SpatialImage
from numpy.typing import ArrayLike, NDArray

from lits_runtime.errors import VolumeError
from lits_runtime.files.stable_file import SteadyFile
from lits_runtime.messages import printable
from lits_runtime.segment.options import MAX_VOXELS
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.library_errors import damage_as_volume_error
from lits_runtime.volumes.memory import image_of_array, plain
from lits_runtime.volumes.nifti.affine import affine_mm
from lits_runtime.volumes.nifti.reader import NiftiFile
from lits_runtime.volumes.nifti.voxel_stream import VoxelStream
from lits_runtime.volumes.open import name_of, path_of, seekable
from lits_runtime.volumes.origins import origins
from lits_runtime.volumes.scratch import BLOCK_BYTES, Scratch

__all__ = ["MAX_SLICE_VOXELS", "MAX_VOXELS", "Geometry", "Run", "Scan", "ScanSource"]

MAX_SLICE_VOXELS = 2**22
"""2048 x 2048, the largest matrix of any CT scanner; a few slices at a time are held as float32."""
MAX_SLICES = 4096
"""A whole body in steps of half a millimetre."""
SLICES_PER_PIXEL = 16
"""At most, of the shorter side: 512 slices of 32 x 32. A slice costs its time however small it is,
and a body is not as thin as a thread."""

ScanSource: TypeAlias = (
    "str | PathLike[str] | BinaryIO | SpatialImage | tuple[ArrayLike, ArrayLike] | Scan"
)


@dataclass(frozen=True)
class Run:
    """Consecutive slices in the order in which they are stored, with their neighbours."""

    start: int
    """First canonical slice that the run is about."""
    stop: int
    low: int
    """First canonical slice that `stored` holds: `start` less the neighbours there are."""
    high: int
    stored: NDArray[Any]
    """(i, j, k) as stored, unscaled, cut along the slice axis."""


class Scan:
    """A CT volume on disk or in memory that is read in slabs of canonical axial slices.

    Nothing but the header is read until values are asked for. `runs` goes through the whole volume
    once; where the slice axis is the slowest of a file it streams, else the file goes through a
    `Scratch` on disk first. `read_slab` reads any slices, of a `.nii.gz` too: what lies before them
    is inflated the first time only.
    """

    def __init__(
        self,
        image: SpatialImage,
        name: str,
        file: NiftiFile | None = None,
        max_voxels: int = MAX_VOXELS,
    ) -> None:
        self.image = image
        self.name = printable(name)
        self.file = file
        self.sha256: str | None = None
        """Of the file, once it was read whole."""
        self.warnings: list[str] = []
        """What is odd about the file, once it was read whole."""
        self.origins: tuple[Path, ...] = ()
        """Files that the values come from, as far as the source tells."""
        shape = tuple(int(size) for size in image.shape)
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) != 3:
            raise VolumeError(f"{self.name}: {len(shape)} dimensions {shape}, expected one volume")
        if min(shape) < 1 or math.prod(shape) > max_voxels:
            raise VolumeError(
                f"{self.name}: shape {shape}, expected 1 to {max_voxels} voxels; the limit is an "
                "option"
            )
        dtype = image.get_data_dtype()
        if dtype.kind not in "iuf":
            raise VolumeError(f"{self.name}: voxels of type {dtype}, expected integers or floats")
        if image.affine is None:
            raise VolumeError(f"{self.name}: no affine; save the volume with an sform or a qform")
        try:
            affine, notes = affine_mm(image)
            self.geometry = Geometry((shape[0], shape[1], shape[2]), affine)
        except VolumeError as error:
            raise VolumeError(f"{self.name}: {error}") from None
        self.notes = tuple(notes if file is None else [*file.notes, *notes])
        """What the header says that had to be read with a grain of salt."""
        slices, height, width = self.geometry.canonical_shape
        if height * width > MAX_SLICE_VOXELS:
            raise VolumeError(
                f"{self.name}: {slices} axial slices of {height} x {width}, expected at most "
                f"{MAX_SLICE_VOXELS} voxels in one"
            )
        if slices > min(MAX_SLICES, SLICES_PER_PIXEL * min(height, width)):
            raise VolumeError(
                f"{self.name}: {slices} axial slices of {height} x {width} are no CT: expected at "
                f"most {MAX_SLICES}, and {SLICES_PER_PIXEL} for each pixel of the shorter side; "
                "are the axes in the header right?"
            )
        self._stored: NDArray[Any] | None = None
        source = None if file is None else file.voxel_source
        self.steady = SteadyFile(source) if isinstance(source, Path) else None
        """What `read_slab` reads from; None for what is no file on disk."""

    @classmethod
    def open(cls, source: ScanSource, *, max_voxels: int = MAX_VOXELS) -> "Scan":
        """Open a path, a binary file object, a nibabel image, or HU (i, j, k) with an affine.

        What is a `Scan` already is given back.

        Raises:
            VolumeError: the source is not a readable 3D volume, or has more than `max_voxels`.
            FileNotFoundError: there is no such file.
        """
        if isinstance(source, Scan):
            return source
        if isinstance(source, SpatialImage):
            scan = cls(source, name_of(source), max_voxels=max_voxels)
        elif isinstance(source, tuple):
            scan = cls(image_of_array(source), "array", max_voxels=max_voxels)
        else:
            if isinstance(source, str | PathLike):
                file = NiftiFile.open(path_of(source))
            else:
                file = NiftiFile.open(seekable(source))
            scan = cls(file.image(), file.name, file, max_voxels)
        scan.origins = origins(source)
        return scan

    @property
    def streams(self) -> bool:
        """Whether `runs` reads slice after slice instead of loading the volume."""
        return self.file is not None and self.geometry.canonical_axes[0] == 2

    @property
    def whole_because(self) -> str | None:
        """Why `runs` needs the whole volume, in memory or on disk; None if it streams."""
        if self.streams:
            return None
        if self.file is None:
            return "the scan came from memory"
        return f"the slices are not the slowest axis of the file ({self.geometry.axis_codes})"

    def load(self) -> "Scan":
        """Read all values once; later slabs come from memory."""
        if self.file is None:
            with damage_as_volume_error(self.name, "truncated or damaged"):
                values = plain(np.asanyarray(self.image.dataobj))
            self._stored = values.reshape(self.geometry.shape)
            return self
        with self.file.voxels() as stream:
            self._stored = stream.read(self.geometry.shape[2]).T
            self._finish(stream)
        return self

    def runs(self, size: int, context_slices: int = 0) -> Iterator[Run]:
        """All slices in the order in which they are stored, `size` at a time.

        Raises:
            VolumeError: the file is truncated or damaged, or holds more than its header says.
        """
        slices = self.geometry.canonical_shape[0]
        if self.streams and self._stored is None:
            yield from self._stream(size, context_slices)
            return
        if self._stored is None and self.file is not None:
            yield from self._turn(size, context_slices)
            return
        if self._stored is None:
            self.load()
        assert self._stored is not None
        for start in range(0, slices, size):
            stop = min(start + size, slices)
            low, high = max(start - context_slices, 0), min(stop + context_slices, slices)
            yield Run(start, stop, low, high, self._stored[self.geometry.stored_range(low, high)])

    def _stream(self, size: int, context_slices: int) -> Iterator[Run]:
        slices, flipped = self.geometry.shape[2], self.geometry.head_to_feet
        assert self.file is not None
        with self.file.voxels() as stream:
            held, position = stream.read(0), 0
            # Slabs are the same whichever way the slices run: those with all slices from the feet.
            first = slices % size if flipped else 0
            for begin in range(first - size if first else 0, slices, size):
                start, stop = max(begin, 0), min(begin + size, slices)
                low, high = max(start - context_slices, 0), min(stop + context_slices, slices)
                fresh, kept = stream.read(high - position), position - low
                held = np.concatenate([held[len(held) - kept :], fresh]) if kept else fresh
                position = high
                ends = (start, stop, low, high)
                if flipped:
                    ends = (slices - stop, slices - start, slices - high, slices - low)
                yield Run(*ends, held.T)
            self._finish(stream)

    def _finish(self, stream: VoxelStream) -> None:
        self.sha256 = stream.finish()
        if stream.padding:
            self.warnings.append(
                f"{stream.padding} zero bytes behind the voxels, less than a slice, are ignored"
            )

    def _turn(self, size: int, context_slices: int) -> Iterator[Run]:
        """Runs of a file whose slices are not its slowest axis: by way of the disk."""
        assert self.file is not None
        geometry, dtype = self.geometry, self.file.header.get_data_dtype()
        slices, planes = geometry.canonical_shape[0], geometry.shape[2]
        axis, flipped = geometry.canonical_axes[0], geometry.head_to_feet
        count = max(1, BLOCK_BYTES // (geometry.shape[0] * geometry.shape[1] * dtype.itemsize))
        with Scratch(geometry.shape, dtype, 2, axis) as scratch:
            with self.file.voxels() as stream:
                for start in range(0, planes, count):
                    scratch.put(start, stream.read(min(count, planes - start)).T)
                self._finish(stream)
            for start in range(0, slices, size):
                stop = min(start + size, slices)
                low, high = max(start - context_slices, 0), min(stop + context_slices, slices)
                ends = (slices - high, slices - low) if flipped else (low, high)
                yield Run(start, stop, low, high, scratch.take(*ends))

    def slab_hu(self, run: Run, context_slices: int = 0) -> NDArray[np.float32]:
        """Hounsfield units of a run and its neighbours.

        Beyond the first and last slice the outermost slice is repeated.

        Returns:
            float32 (stop - start + 2 * context_slices, height, width), contiguous.

        Raises:
            VolumeError: there are values that are not finite.
        """
        values = run.stored if self.file is None else self.file.scaled(run.stored)
        return self._canonical(values, run, context_slices)

    def _canonical(
        self, values: NDArray[Any], run: Run, context_slices: int
    ) -> NDArray[np.float32]:
        with np.errstate(over="ignore", invalid="ignore"):  # the check below sees it
            slab = np.ascontiguousarray(self.geometry.to_canonical(values), dtype=np.float32)
        if values.dtype.kind == "f" and not np.isfinite(slab).all():
            raise VolumeError(
                f"{self.name}: values that are not finite between slices {run.low} and "
                f"{run.high - 1}; replace them, for example by -1024"
            )
        before = run.low - (run.start - context_slices)
        after = run.stop + context_slices - run.high
        if before or after:
            slab = np.pad(slab, ((before, after), (0, 0), (0, 0)), mode="edge")
        return slab

    def read_slab(self, start: int, stop: int, context_slices: int = 0) -> NDArray[np.float32]:
        """Hounsfield units of the canonical slices `start` to `stop`; see `slab_hu`.

        Raises:
            VolumeError: the file is truncated or damaged, changed since the first slab was read, or
                holds values that are not finite.
        """
        slices = self.geometry.canonical_shape[0]
        low, high = max(start - context_slices, 0), min(stop + context_slices, slices)
        values = self.read_stored(low, high)
        return self._canonical(values, Run(start, stop, low, high, values), context_slices)

    def read_stored(self, low: int, high: int) -> NDArray[Any]:
        """Values of canonical slices, (i, j, k) as stored, scaled, whether finite or not.

        Raises:
            VolumeError: the file is truncated or damaged, or changed since the first read.
        """
        index = self.geometry.stored_range(low, high)
        if self._stored is not None:
            stored = self._stored[index]
            return stored if self.file is None else self.file.scaled(stored)
        with damage_as_volume_error(self.name, "truncated or damaged"):
            if self.file is not None and self.steady is not None:
                return self.file.scaled(self.file.cut(self.steady, index))
            extra = (0,) * (len(self.image.shape) - 3)
            return plain(np.asanyarray(self.image.dataobj[(*index, *extra)]))
