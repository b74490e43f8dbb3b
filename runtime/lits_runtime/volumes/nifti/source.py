"""A NIfTI file as a source of voxels."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lits_runtime.files.stable_file import FileState, StableFile
from lits_runtime.volumes.library_errors import as_volume_error
from lits_runtime.volumes.nifti.grid import grid_of
from lits_runtime.volumes.nifti.header_notes import header_notes
from lits_runtime.volumes.nifti.reader import NiftiFile
from lits_runtime.volumes.nifti.voxel_stream import VoxelStream


class NiftiSource:
    """A NIfTI-1 or NIfTI-2 volume, single file or pair; see `VolumeSource`.

    Reads at random work on a .nii.gz too: what lies before them is inflated the first time only.
    """

    in_memory = False

    def __init__(
        self, file: NiftiFile, origins: tuple[Path, ...], state: FileState | None = None
    ) -> None:
        """Read nothing but the header, which `file` has.

        Args:
            file: with its header.
            origins: files behind it.
            state: of the file with the voxels, when it was looked at before; it must still be so.
        """
        self.file, self.name, self.origins = file, file.name, origins
        self.image = file.image()
        """nibabel's; masks take its header."""
        self.geometry, self._notes = grid_of(self.image, self.name)
        voxels = file.voxel_source
        self._stable = StableFile(voxels, state) if isinstance(voxels, Path) else None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of stored values."""
        dtype: np.dtype[Any] = self.file.header.get_data_dtype()
        return dtype

    @property
    def size_bytes(self) -> int | None:
        """Of the file or pair, compressed as it may be."""
        return self.file.watched.bytes

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about the header."""
        return *self.file.notes, *self._notes, *header_notes(self.image.header)

    def planes(self) -> AbstractContextManager[VoxelStream]:
        """Begin a pass."""
        return self.file.voxels()

    def read(self, index: tuple[slice, slice, slice]) -> NDArray[Any]:
        """Any part, in HU."""
        with as_volume_error(self.name, "truncated or damaged"):
            if self._stable is not None:
                return self.to_hu(self.file.cut(self._stable, index))
            further = (0,) * (len(self.image.shape) - 3)
            return np.asanyarray(self.image.dataobj[(*index, *further)])

    def to_hu(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Stored values in HU."""
        return self.file.scaled(stored)

    def close(self) -> None:
        """Files are open during a pass or a read only; a file object stays its owner's."""
