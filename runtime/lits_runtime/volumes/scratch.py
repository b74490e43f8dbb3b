"""A volume on disk that is written along one of its axes and read along another."""

import math
import shutil
import tempfile
from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lits_runtime.errors import VolumeError

MAX_SCRATCH_BYTES = 2**34
"""The most voxels that a scan may have, in float64."""
BLOCK_BYTES = 2**23
"""The size of blocks to hold in memory: large ones make writes few and long."""


class Scratch:
    """A volume (i, j, k) in an unnamed file that disappears when it is closed or the process ends.

    The file is in the folder for temporary files (see `TMPDIR`). It is read and written, not
    mapped, so that it takes no memory of this process.

    Args:
        shape: (i, j, k).
        dtype: of the values.
        put_axis: the axis along which blocks are written.
        take_axis: another axis, along which they are read.

    Raises:
        VolumeError: it would be larger than `MAX_SCRATCH_BYTES` or the free space.
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
                f"slices are not the slowest axis of the file, which takes {needed} bytes of "
                f"scratch space; {folder} has {free}: set TMPDIR to another folder, or store the "
                "volume slice by slice"
            )
        self._file = tempfile.TemporaryFile(prefix="lits-", buffering=0)  # noqa: SIM115

    def __enter__(self) -> "Scratch":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the space."""
        self._file.close()

    def put(self, start: int, block: NDArray[Any]) -> None:
        """Write an (i, j, k) block that is cut along `put_axis` and begins there at `start`."""
        _, put_size, other = self._sizes
        rows = block.transpose(self._order)
        for index in range(len(rows)):
            self._file.seek((index * put_size + start) * other * self._dtype.itemsize)
            self._write(np.ascontiguousarray(rows[index], self._dtype))

    def take(self, start: int, stop: int) -> NDArray[Any]:
        """Read the (i, j, k) block from `start` to `stop` along `take_axis`."""
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
