"""Clean-up in 3D, by connected components, of labels that pass slab by slab.

The labels of a slab are kept as runs, a few kB a slice. Those that are connected within the slab
make a part; parts are joined across slabs as they pass. Once all have passed it is known which
stay, and the labels are made anew from the runs.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from lits_runtime.cleanup.kept_runs import KeptRuns
from lits_runtime.cleanup.label_runs import Pairs, Runs, overlapping
from lits_runtime.errors import VolumeError
from lits_runtime.labels import BACKGROUND, LESION, LIVER
from lits_runtime.measure.lesion_parts import connected
from lits_runtime.model.metadata import Postprocessing

MAX_PARTS = 2**21
"""Of labels like noise alone; more would take over half a gigabyte."""


class CleanUp:
    """Takes the labels of a volume slab by slab, in any order, and gives them back cleaned up.

    Liver and lesions are connected face to face. Of equally large livers the one whose first voxel
    comes first in canonical order is kept; lesions are kept or dropped whole.

    Args:
        shape: canonical (slices, height, width).
        voxel_ml: volume of a voxel.
        options: what to clean up.
    """

    def __init__(
        self, shape: tuple[int, int, int], voxel_ml: float, options: Postprocessing
    ) -> None:
        _, self._height, self._width = shape
        self._voxel_ml, self._options = voxel_ml, options
        self._kept = KeptRuns()
        self._slabs: list[tuple[int, int]] = []
        """First slice of each, and how many it has."""
        self._faces: dict[int, tuple[Runs, NDArray[np.int64]]] = {}
        """By the slice above it, a boundary of which one side has come: runs and their parts."""
        self._count = 0
        """Of parts."""
        self._pairs: list[Pairs] = [np.zeros((2, 0), np.int64)]
        """Parts that touch, whatever their labels."""
        self._labels = [np.zeros(0, np.uint8)]
        self._voxels = [np.zeros(0, np.int64)]
        self._first = [np.zeros(0, np.int64)]
        """Of each part: label, size, and flat canonical index of the first voxel."""

    def close(self) -> None:
        """Let go of memory and disk space."""
        self._kept.close()

    def add(self, start: int, labels: NDArray[np.uint8]) -> None:
        """Take the labels (n, height, width) of the canonical slices from `start` on.

        Raises:
            VolumeError: there are more parts than `MAX_PARTS`, or there is no room on disk.
        """
        plane = self._height * self._width
        runs = Runs.of(labels)
        pairs = runs.touching(self._height, self._width)
        alike = runs.labels[pairs[0]] == runs.labels[pairs[1]]
        parts, count = connected(len(runs), pairs[:, alike])
        first = np.unique(parts, return_index=True)[1]
        self._labels.append(runs.labels[first])
        self._voxels.append(np.bincount(parts, runs.stops - runs.starts).astype(np.int64))
        self._first.append(runs.starts[first] + start * plane)
        parts += self._count
        self._count += count
        if self._count > MAX_PARTS:
            raise VolumeError(
                f"the labels are in over {MAX_PARTS} parts, like noise: does the model suit the "
                "scan? Leave clean-up out to see them"
            )
        self._pairs.append(_once(parts[pairs[:, ~alike]]))
        for boundary, index in ((start, 0), (start + len(labels), len(labels) - 1)):
            face, which = runs.cut(index * plane, (index + 1) * plane)
            self._meet(boundary, face, parts[which])
        self._slabs.append((start, len(labels)))
        self._kept.append(np.stack([runs.starts, runs.stops, parts]).astype(np.uint32))

    def slabs(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """The slabs in the order in which they came: first slice, and labels cleaned up."""
        cleaned = self._cleaned()
        for (start, slices), (starts, stops, parts) in zip(self._slabs, self._kept, strict=True):
            runs = Runs(starts, stops, cleaned[parts])
            yield start, runs.drawn((slices, self._height, self._width))

    def _meet(self, boundary: int, face: Runs, parts: NDArray[np.int64]) -> None:
        """Note which parts touch across a boundary, once both of its sides have come."""
        if boundary not in self._faces:
            self._faces[boundary] = face, parts
            return
        beside, parts_beside = self._faces.pop(boundary)
        here, there = overlapping(face.starts, face.stops, beside)
        self._pairs.append(_once(np.stack([parts[here], parts_beside[there]])))

    def _cleaned(self) -> NDArray[np.uint8]:
        """The label of each part after the clean-up."""
        options = self._options
        labels, voxels = np.concatenate(self._labels), np.concatenate(self._voxels)
        pairs = np.concatenate(self._pairs, 1)
        if options.keep_largest_liver and self._count:
            liver, count = connected(self._count, pairs)
            labels[liver != self._largest(liver, count, voxels)] = BACKGROUND
        alike = labels[pairs[0]] == labels[pairs[1]]
        number, count = connected(self._count, pairs[:, alike])
        in_liver = np.zeros(count, bool)
        for here, there in (pairs, pairs[::-1]):
            in_liver[number[here[(labels[here] == LESION) & (labels[there] == LIVER)]]] = True
        small = np.bincount(number, voxels, count) * self._voxel_ml < options.min_lesion_ml
        lesion = labels == LESION
        if options.drop_lesions_outside_liver:
            labels[lesion & ~in_liver[number]] = BACKGROUND
        labels[lesion & small[number]] = BACKGROUND
        labels[lesion & (small & in_liver)[number]] = LIVER
        return labels

    def _largest(self, liver: NDArray[np.int64], count: int, voxels: NDArray[np.int64]) -> int:
        """Number of the largest liver; of equally large ones, of that which begins first."""
        size = np.bincount(liver, voxels, count)
        first = np.full(count, np.iinfo(np.int64).max)
        np.minimum.at(first, liver, np.concatenate(self._first))
        return int(np.lexsort((first, -size))[0])


def cleaned_up(
    slabs: Iterable[tuple[int, NDArray[np.uint8]]],
    shape: tuple[int, int, int],
    voxel_ml: float,
    options: Postprocessing,
) -> Generator[tuple[int, NDArray[np.uint8]], None, None]:
    """First slice and labels of slabs: as they come if nothing cleans up, else after the last."""
    if not options.cleans_up:
        yield from slabs
        return
    with closing(CleanUp(shape, voxel_ml, options)) as clean_up:
        for start, labels in slabs:
            clean_up.add(start, labels)
        yield from clean_up.slabs()


def _once(pairs: Pairs) -> Pairs:
    """Each of the pairs once."""
    if not pairs.shape[1]:
        return pairs
    coded = np.unique(pairs[0] << 32 | pairs[1])
    return np.stack([coded >> 32, coded & 0xFFFFFFFF])
