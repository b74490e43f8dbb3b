"""One pass over the voxels of a file, in the order in which they are stored."""

import math
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lits_runtime.errors import VolumeError
from lits_runtime.volumes.library_errors import as_volume_error
from lits_runtime.volumes.nifti.padding import padding_behind
from lits_runtime.volumes.source import Verified


class VoxelStream:
    """The voxels of a NIfTI file, plane by plane along the slowest stored axis; see `Planes`."""

    def __init__(
        self, name: str, plane: tuple[int, int], dtype: Any, stream: BinaryIO, digest: Any
    ) -> None:
        self._name, self._stream, self._digest = name, stream, digest
        self._plane, self._dtype = plane, dtype

    def read(self, count: int) -> NDArray[Any]:
        """The next `count` planes as stored, (k, j, i): unscaled, in any byte order, read-only.

        Raises:
            VolumeError: the file ends too early, or its compressed stream is damaged.
        """
        missing = math.prod((count, *self._plane, self._dtype.itemsize))
        pieces: list[bytes] = []
        with as_volume_error(self._name, "truncated or damaged"):
            while missing:  # one read, but for file objects that return less than asked
                # `readinto` of a gzip would copy once more, into fresh memory.
                piece = self._stream.read(missing)
                if not piece:
                    raise VolumeError(
                        f"{self._name}: truncated or damaged: {missing} bytes of {count} slices "
                        "are missing"
                    )
                pieces.append(piece)
                missing -= len(piece)
        content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return np.frombuffer(content, self._dtype).reshape(count, *self._plane)

    def finish(self) -> Verified:
        """The SHA-256 of the file, once all planes are read, and a warning about padding.

        Raises:
            VolumeError: there is more than the header says, or a checksum is wrong.
        """
        plane = math.prod((*self._plane, self._dtype.itemsize))
        with as_volume_error(self._name, "truncated or damaged"):
            padding = padding_behind(self._stream, plane, self._name)
        warning = f"{padding} zero bytes after the voxels, less than a slice, are ignored"
        return Verified(str(self._digest.hexdigest()), (warning,) if padding else ())
