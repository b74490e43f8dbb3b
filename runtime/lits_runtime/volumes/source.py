"""The two protocols of a format: a source of CT volumes, and a sink for masks.

A format is a folder here that implements one of them or both, and that `open` knows. `Scan` makes
slabs of canonical slices of any source; whoever segments puts slabs of labels into any sink.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lits_runtime.volumes.geometry import Geometry


@dataclass(frozen=True)
class Verified:
    """What is known of a volume once all of it was read and found sound."""

    sha256: str | None = None
    """Of its file or files; None for what has none."""
    warnings: tuple[str, ...] = ()


class Planes(Protocol):
    """One pass over a volume in the order in which it is stored: planes of constant k."""

    def read(self, count: int) -> NDArray[Any]:
        """The next `count` planes, (count, j, i), read-only, as stored: see `VolumeSource.to_hu`.

        Raises:
            VolumeError: the volume is truncated or damaged.
        """

    def finish(self) -> Verified:
        """Verify the volume, once all planes were read.

        Raises:
            VolumeError: a checksum is wrong, or there is more than the header says.
        """


class VolumeSource(Protocol):
    """One CT volume as it is stored, of which only the header has been read."""

    @property
    def name(self) -> str:
        """For messages: free of control characters."""

    @property
    def geometry(self) -> Geometry:
        """The grid, with (i, j, k) in the order in which values are stored: k is the slowest."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of stored values."""

    @property
    def in_memory(self) -> bool:
        """Whether the values are the caller's, in memory, so that reading in passes saves none."""

    @property
    def origins(self) -> tuple[Path, ...]:
        """Absolute paths of the files behind the values, which no output may overwrite."""

    @property
    def size_bytes(self) -> int | None:
        """Of these files, once they were opened; None without any."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about the header, one line each."""

    def planes(self) -> AbstractContextManager[Planes]:
        """Begin a pass over all values; several may be under way.

        Raises:
            VolumeError: the volume cannot hold what its header says.
        """

    def read(self, index: tuple[slice, slice, slice]) -> NDArray[Any]:
        """Any part of the volume, (i, j, k), in HU.

        Raises:
            VolumeError: it is truncated or damaged, or has changed since the first read.
        """

    def to_hu(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Values of `Planes.read`, of any shape, in HU. It is called from several threads."""

    def close(self) -> None:
        """Let go of files and connections; the source is not used after it."""


@dataclass(frozen=True)
class Content:
    """What the values of a mask mean; some formats store it."""

    classes: Mapping[str, int]
    """By the name of a class, its value: {"liver": 1, "lesion": 2}, {"lesion": 255}."""
    slope: float = 1.0
    """What a stored 1 stands for: 1/255 for the probabilities of a class."""


class LabelSink(Protocol):
    """A mask that is written slab by slab, on the grid of its scan."""

    def put(self, start: int, labels: NDArray[np.uint8]) -> None:
        """Take canonical slices (n, height, width), from slice `start` on.

        Each slice comes once, slabs in the order of `Geometry.slab_ranges`.
        """

    def finish(self) -> None:
        """Write what is still held, once all slices were put; the file is then complete."""

    def close(self) -> None:
        """Let go of memory and scratch files, also if the mask is not complete."""
