"""A volume on disk that is written along one of its axes and read along another."""

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lits_runtime.errors import VolumeError
from lits_runtime.files.scratch_file import ScratchFile

MAX_SCRATCH_BYTES = 2**34
"""The most voxels that a scan may have, in float64."""
BLOCK_BYTES = 2**23
"""The size of blocks to hold in memory: large ones make writes few and long."""
_PURPOSE = "a volume whose slices are not its slowest stored axis"


class Scratch:
    """A volume (i, j, k) in a scratch file.

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
        needed = math.prod(shape) * self._dtype.itemsize
        if needed > MAX_SCRATCH_BYTES:
            raise VolumeError(
                f"{_PURPOSE} takes {needed} bytes of scratch space, more than {MAX_SCRATCH_BYTES}: "
                "store it slice by slice"
            )
        self._file = ScratchFile(_PURPOSE, needed)

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
            position = (index * put_size + start) * other * self._dtype.itemsize
            self._file.write(position, np.ascontiguousarray(rows[index], self._dtype))

    def take(self, start: int, stop: int) -> NDArray[Any]:
        """Read the (i, j, k) block from `start` to `stop` along `take_axis`."""
        _, put_size, other = self._sizes
        block = np.empty((stop - start, put_size, other), self._dtype)
        self._file.read(start * put_size * other * self._dtype.itemsize, block)
        return block.transpose(tuple(np.argsort(self._order).tolist()))
