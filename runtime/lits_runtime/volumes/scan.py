"""CT volumes of any format, read in slabs of canonical axial slices."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
from nibabel.spatialimages import SpatialImage
from numpy.typing import ArrayLike, NDArray

from lits_runtime.errors import VolumeError
from lits_runtime.files.stable_file import FileState
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.open import open_source
from lits_runtime.volumes.scratch import BLOCK_BYTES, Scratch
from lits_runtime.volumes.size_limits import MAX_VOXELS, check_size
from lits_runtime.volumes.source import Planes, VolumeSource

if TYPE_CHECKING:
    from lits_runtime.volumes.dicom.series import Series

__all__ = ["MAX_VOXELS", "Geometry", "Scan", "ScanSource", "StoredSlab"]

ScanSource: TypeAlias = (
    "str | PathLike[str] | BinaryIO | SpatialImage | tuple[ArrayLike, ArrayLike] | Series | Scan"
)

_Ends: TypeAlias = tuple[int, int, int, int]
"""Start, stop, low and high of a slab."""


@dataclass(frozen=True)
class StoredSlab:
    """Consecutive axial slices as they are stored, with their neighbours."""

    start: int
    """First canonical slice of the slab."""
    stop: int
    low: int
    """First canonical slice that `stored` holds: `start` less the neighbours there are."""
    high: int
    stored: NDArray[Any]
    """(i, j, k) as stored, not yet in HU, cut along the slice axis."""


class Scan:
    """A CT volume on disk or in memory that is read in slabs of canonical axial slices.

    Only the header is read until values are asked for. `slabs` goes through the whole volume once;
    it streams if the slices are the slowest axis of a file, else the volume goes through a
    `Scratch` file first. `read_slab` reads any slices.
    """

    def __init__(
        self,
        source: VolumeSource,
        *,
        affine: ArrayLike | None = None,
        max_voxels: int = MAX_VOXELS,
    ) -> None:
        """A scan of any source, one of another package's among them; see `open`.

        Raises:
            VolumeError: the volume is too large, or not of a CT's shape.
        """
        self.source = source
        self.geometry = source.geometry
        if affine is not None:
            self.geometry = Geometry(source.geometry.shape, np.asarray(affine))
        check_size(self.name, self.geometry, max_voxels)
        self.sha256: str | None = None
        """Of the file, once it was read whole."""
        self.warnings: list[str] = []
        """What is odd about the file, once it was read whole."""
        self._stored: NDArray[Any] | None = None

    @classmethod
    def open(
        cls,
        source: ScanSource,
        *,
        affine: ArrayLike | None = None,
        state: FileState | None = None,
        max_voxels: int = MAX_VOXELS,
    ) -> "Scan":
        """Open a path, a DICOM series, an open file, a nibabel image, or HU (i, j, k) with affine.

        Args:
            source: the path may be that of a folder or archive with DICOM series, of which the
                most fitting is taken. A `Scan` is returned as it is.
            affine: (4, 4) voxel-to-world in mm, RAS+, in place of the header's, if that is wrong.
            state: of the file at a path, when it was looked at before; it must still be so
                whenever values are read.
            max_voxels: that the volume may have.

        Raises:
            VolumeError: the source is not a readable 3D volume, or has more than `max_voxels`, or
                the file is not as it was.
            FileNotFoundError: there is no such file.
        """
        if isinstance(source, Scan):
            return source
        return cls(open_source(source, state), affine=affine, max_voxels=max_voxels)

    @property
    def name(self) -> str:
        """For messages: free of control characters."""
        return self.source.name

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about the header."""
        return self.source.notes

    @property
    def origins(self) -> tuple[Path, ...]:
        """Files that the values come from, if the source knows them."""
        return self.source.origins

    @property
    def streams(self) -> bool:
        """Whether `slabs` reads slice after slice, and need not load the volume."""
        return not self.source.in_memory and self.geometry.slices_are_slowest

    @property
    def whole_because(self) -> str | None:
        """Why `slabs` needs the whole volume, in memory or on disk; None if it streams."""
        if self.streams:
            return None
        if self.source.in_memory:
            return "the scan came from memory"
        return f"the slices are not the slowest axis of the file ({self.geometry.axis_codes})"

    def load(self) -> "Scan":
        """Read all values once; later slabs come from memory."""
        with self.source.planes() as planes:
            self._stored = planes.read(self.geometry.shape[2]).T
            self._finish(planes)
        return self

    def slabs(
        self,
        size: int,
        context_slices: int = 0,
        apart: int | None = None,
        *,
        context_between: bool = True,
    ) -> Generator[StoredSlab, None, None]:
        """All slices, `size` at a time, in the order of `Geometry.slab_ranges`.

        Args:
            size: axial slices of a slab.
            context_slices: neighbours on either side to hold in addition.
            apart: slices at this distance make slabs by themselves.
            context_between: whether the slabs between these have neighbours too.

        Raises:
            VolumeError: the file is truncated or damaged, or holds more than its header says.
        """
        if self._stored is None and self.source.in_memory:
            self.load()
        ranges = self._ranges(size, context_slices, apart, context_between)
        if self._stored is not None:
            for ends in ranges:
                yield StoredSlab(*ends, self._stored[self.geometry.stored_range(*ends[2:])])
        elif self.streams:
            yield from self._stream(ranges, context_slices)
        else:
            yield from self._turn(ranges)

    def _ranges(
        self, size: int, context_slices: int, apart: int | None, context_between: bool
    ) -> Iterator[_Ends]:
        """Start, stop, low and high of all slabs."""
        geometry, slices = self.geometry, self.geometry.canonical_shape[0]
        for start, stop in geometry.slab_ranges(size, apart):
            alone = apart is not None and geometry.stands_alone(start, stop, apart)
            context = context_slices if context_between or alone else 0
            yield start, stop, max(start - context, 0), min(stop + context, slices)

    def _stream(self, ranges: Iterator[_Ends], context_slices: int) -> Iterator[StoredSlab]:
        with self.source.planes() as planes:
            held, position = planes.read(0), 0
            for start, stop, low, high in ranges:
                wanted = self.geometry.stored_range(low, high)[2]
                if wanted.stop > position:
                    held = np.concatenate([held, planes.read(wanted.stop - position)])
                    position = wanted.stop
                first = position - len(held)
                own = held[wanted.start - first : wanted.stop - first]
                yield StoredSlab(start, stop, low, high, own.T)
                done = self.geometry.stored_range(start, stop)[2].stop
                held = held[max(0, done - context_slices - first) :]
            self._finish(planes)

    def _turn(self, ranges: Iterator[_Ends]) -> Iterator[StoredSlab]:
        """Slabs of a file whose slices are not its slowest axis: by way of the disk."""
        shape, dtype = self.geometry.shape, self.source.dtype
        axis, planes_in_all = self.geometry.canonical_axes[0], shape[2]
        count = max(1, BLOCK_BYTES // (shape[0] * shape[1] * dtype.itemsize))
        with Scratch(shape, dtype, 2, axis) as scratch:
            with self.source.planes() as planes:
                for first in range(0, planes_in_all, count):
                    scratch.put(first, planes.read(min(count, planes_in_all - first)).T)
                self._finish(planes)
            for start, stop, low, high in ranges:
                wanted = self.geometry.stored_range(low, high)[axis]
                yield StoredSlab(start, stop, low, high, scratch.take(wanted.start, wanted.stop))

    def _finish(self, planes: Planes) -> None:
        verified = planes.finish()
        self.sha256 = verified.sha256
        self.warnings += verified.warnings

    def slab_hu(self, slab: StoredSlab, context_slices: int = 0) -> NDArray[np.float32]:
        """Hounsfield units of a slab and its neighbours.

        Beyond the first and last slice the outermost slice is repeated.

        Returns:
            float32 (stop - start + 2 * context_slices, height, width), contiguous.

        Raises:
            VolumeError: there are values that are not finite.
        """
        return self._canonical(self.source.to_hu(slab.stored), slab, context_slices)

    def _canonical(
        self, values: NDArray[Any], slab: StoredSlab, context_slices: int
    ) -> NDArray[np.float32]:
        with np.errstate(over="ignore", invalid="ignore"):  # the check below sees it
            slab_hu = np.ascontiguousarray(self.geometry.to_canonical(values), dtype=np.float32)
        if values.dtype.kind == "f" and not np.isfinite(slab_hu).all():
            raise VolumeError(
                f"{self.name}: values that are not finite between slices {slab.low} and "
                f"{slab.high - 1}; replace them, for example by -1024"
            )
        before = slab.low - (slab.start - context_slices)
        after = slab.stop + context_slices - slab.high
        if before or after:
            slab_hu = np.pad(slab_hu, ((before, after), (0, 0), (0, 0)), mode="edge")
        return slab_hu

    def read_slab(self, start: int, stop: int, context_slices: int = 0) -> NDArray[np.float32]:
        """Hounsfield units of the canonical slices `start` to `stop`; see `slab_hu`.

        Raises:
            VolumeError: the file is truncated or damaged, has changed since the first slab was
                read, or holds values that are not finite.
        """
        slices = self.geometry.canonical_shape[0]
        low, high = max(start - context_slices, 0), min(stop + context_slices, slices)
        values = self.read_stored(low, high)
        return self._canonical(values, StoredSlab(start, stop, low, high, values), context_slices)

    def read_stored(self, low: int, high: int) -> NDArray[Any]:
        """Canonical slices in HU, (i, j, k) in stored axis order, whether finite or not.

        Raises:
            VolumeError: the file is truncated or damaged, or has changed since the first read.
        """
        index = self.geometry.stored_range(low, high)
        if self._stored is not None:
            return self.source.to_hu(self._stored[index])
        return self.source.read(index)

    def close(self) -> None:
        """Let go of the source; nothing can be read after it."""
        self.source.close()
