"""Sinks of one volume: an array, or a NIfTI file that is written as its planes come."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lits_runtime.files.atomic import NewFile
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.nifti.writer import mask_writer
from lits_runtime.volumes.scan import Scan
from lits_runtime.volumes.scratch import BLOCK_BYTES, Scratch


class LabelSink(Protocol):
    """A mask that is written slab by slab, on the grid of its scan."""

    def put(self, start: int, labels: NDArray[np.uint8]) -> None:
        """Take canonical slices (n, height, width), from slice `start` on."""

    def finish(self) -> None:
        """Write what is still held, once all slices were put."""


class ArraySink:
    """A volume in memory."""

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self.array = np.zeros(geometry.shape, np.uint8, order="F")

    def put(self, start: int, labels: NDArray[np.uint8]) -> None:
        """Take canonical slices (n, height, width), from slice `start` on."""
        index = self._geometry.stored_range(start, start + len(labels))
        self.array[index] = self._geometry.from_canonical(labels)

    def finish(self) -> None:
        """Nothing is left to do."""


class _Turned:
    """Slices that are not the slowest axis of the file, by way of the disk."""

    def __init__(self, geometry: Geometry, scratch: Scratch, write: Callable[..., None]) -> None:
        self._geometry, self._scratch, self._write = geometry, scratch, write

    def put(self, start: int, labels: NDArray[np.uint8]) -> None:
        index = self._geometry.stored_range(start, start + len(labels))
        first = index[self._geometry.canonical_axes[0]].start
        self._scratch.put(first, self._geometry.from_canonical(labels))

    def finish(self) -> None:
        shape = self._geometry.shape
        count = max(1, BLOCK_BYTES // (shape[0] * shape[1]))
        for start in range(0, shape[2], count):
            self._write(self._scratch.take(start, min(start + count, shape[2])))


class _Held:
    """Slices that come in another order than the file's, of a scan in memory."""

    def __init__(self, geometry: Geometry, write: Callable[..., None]) -> None:
        self._array, self._write = ArraySink(geometry), write
        self.put = self._array.put

    def finish(self) -> None:
        self._write(self._array.array)


class _Streamed:
    def __init__(self, geometry: Geometry, write: Callable[..., None]) -> None:
        self._geometry, self._write = geometry, write

    def put(self, start: int, labels: NDArray[np.uint8]) -> None:
        self._write(self._geometry.from_canonical(labels))

    def finish(self) -> None:
        pass


@contextmanager
def open_sink(file: NewFile, scan: Scan, slope: float = 1.0) -> Iterator[LabelSink]:
    """Begin a file."""
    geometry = scan.geometry
    with ExitStack() as stack:
        write = stack.enter_context(mask_writer(file, geometry.shape, scan.image, slope))
        if scan.streams:
            yield _Streamed(geometry, write)
        elif scan.file is None:
            yield _Held(geometry, write)
        else:
            axis = geometry.canonical_axes[0]
            scratch = stack.enter_context(Scratch(geometry.shape, np.uint8, axis, 2))
            yield _Turned(geometry, scratch, write)
