"""The runs of all slabs of a scan, with their parts: in memory, and on disk once they are many."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lits_runtime.files.scratch_file import ScratchFile

MAX_BYTES_IN_MEMORY = 2**25
"""Ten thousand slices of liver; what is beyond, as of labels like noise, goes to disk."""


class KeptRuns:
    """Arrays (3, runs), uint32, of starts, stops and parts, to be read in the order of `append`."""

    def __init__(self) -> None:
        self._held: list[NDArray[np.uint32]] = []
        self._bytes_held = 0
        self._file: ScratchFile | None = None
        self._bytes_on_disk = 0
        self._counts_on_disk: list[int] = []

    def close(self) -> None:
        """Let go of them."""
        self._held.clear()
        if self._file is not None:
            self._file.close()

    def append(self, runs: NDArray[np.uint32]) -> None:
        """Keep the runs of one more slab.

        Raises:
            VolumeError: there is no room on disk.
        """
        if self._file is None and self._bytes_held + runs.nbytes <= MAX_BYTES_IN_MEMORY:
            self._held.append(runs)
            self._bytes_held += runs.nbytes
            return
        if self._file is None:
            self._file = ScratchFile("the clean-up")
        self._file.write(self._bytes_on_disk, runs)
        self._bytes_on_disk += runs.nbytes
        self._counts_on_disk.append(runs.shape[1])

    def __iter__(self) -> Iterator[NDArray[np.uint32]]:
        yield from self._held
        if self._file is None:
            return
        position = 0
        for count in self._counts_on_disk:
            runs = np.empty((3, count), np.uint32)
            self._file.read(position, runs)
            position += runs.nbytes
            yield runs
