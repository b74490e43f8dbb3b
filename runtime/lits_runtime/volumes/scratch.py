"""A volume on disk, put there along one of its axes and taken back along another."""

import math
import shutil
import tempfile
from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lits_runtime.errors import VolumeError

MAX_SCRATCH_BYTES = 2**34
"""As many voxels as are allowed, in float64."""
BLOCK_BYTES = 2**23
"""What is worth holding at a time: larger blocks make fewer and longer writes."""


class Scratch:
    """A file without a name, (i, j, k), which goes when it is closed, or the process ends.

    It lies where temporary files do (`TMPDIR` says where), and is read and written, not mapped:
    neither the volume nor its pages count as memory of this process.

    Args:
        shape: (i, j, k).
        dtype: of its values.
        put_axis: along which blocks come.
        take_axis: another, along which they are read.

    Raises:
        VolumeError: it would be larger than `MAX_SCRATCH_BYTES`, or than the space that is free.
    """

    def __init__(
        self, shape: tuple[int, int, int], dtype: DTypeLike, put_axis: int, take_axis: int
    ) -> None:
        self._dtype = np.dtype(dtype)
        self._order = (take_axis, put_axis, 3 - take_axis - put_axis)
        self._sizes = tuple(shape[axis] for axis in self._order)
        needed, folder = math.prod(shape) * self._dtype.itemsize, tempfile.gettempdir()
        free = min(shutil.disk_usage(folder).free, MAX_SCRATCH_BYTES)
        if needed > free:
            raise VolumeError(
                f"slices are not the slowest axis of the file, so that it needs {needed} bytes in "
                f"{folder}, which may take {free}: name another folder in TMPDIR, or store the "
                "volume slice after slice"
            )
        self._file = tempfile.TemporaryFile(prefix="lits-", buffering=0)  # noqa: SIM115

    def __enter__(self) -> "Scratch":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the space back."""
        self._file.close()

    def put(self, start: int, block: NDArray[Any]) -> None:
        """Write an (i, j, k) block that is cut along `put_axis`, where it begins at `start`."""
        _, put_size, other = self._sizes
        rows = block.transpose(self._order)
        for index in range(len(rows)):
            self._file.seek((index * put_size + start) * other * self._dtype.itemsize)
            self._write(np.ascontiguousarray(rows[index], self._dtype))

    def take(self, start: int, stop: int) -> NDArray[Any]:
        """Read the (i, j, k) block from `start` to `stop` along `take_axis`, all else whole."""
        _, put_size, other = self._sizes
        block = np.empty((stop - start, put_size, other), self._dtype)
        view = memoryview(cast(Any, block.reshape(-1).view(np.uint8)))
        self._file.seek(start * put_size * other * self._dtype.itemsize)
        while len(view):
            count = self._file.readinto(view)
            if not count:
                raise VolumeError("the scratch file is shorter than what was written to it")
            view = view[count:]
        return block.transpose(tuple(np.argsort(self._order).tolist()))

    def _write(self, row: NDArray[Any]) -> None:
        view = memoryview(cast(Any, row.reshape(-1).view(np.uint8)))
        while len(view):
            view = view[self._file.write(view) :]
