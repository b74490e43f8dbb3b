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
from lits_runtime.cleanup.label_runs import Contacts, Runs, area_of_each, overlapping
from lits_runtime.errors import VolumeError
from lits_runtime.labels import BACKGROUND, LESION, LIVER
from lits_runtime.measure.lesion_parts import connected
from lits_runtime.model.metadata import Postprocessing
from lits_runtime.volumes.geometry import Geometry

MAX_PARTS = 2**21
"""Of labels like noise alone; more would take over half a gigabyte."""
_ROUNDING = 1e-9
"""Of sums of areas."""


class CleanUp:
    """Takes the labels of a volume slab by slab, in any order, and gives them back cleaned up.

    With other options it may do so again.

    Liver and lesions are connected face to face. Of equally large livers the one whose first voxel
    comes first in canonical order is kept; lesions are kept or dropped whole.

    Args:
        geometry: of the scan; labels are in its canonical orientation.
    """

    def __init__(self, geometry: Geometry) -> None:
        self._shape, self._voxel_ml = geometry.canonical_shape, geometry.voxel_ml
        slices, rows, columns = geometry.canonical_spacing_mm
        self._face_areas = 1 / slices, 1 / rows, 1 / columns
        """Of a voxel's faces to the next slice, row and column, as parts of one another."""
        self._kept = KeptRuns()
        self._slabs: list[tuple[int, int]] = []
        """First slice of each, and how many it has."""
        self._faces: dict[int, tuple[Runs, NDArray[np.int64]]] = {}
        """By the slice above it, a boundary of which one side has come: runs and their parts."""
        self._count = 0
        """Of parts."""
        self._contacts = [Contacts(np.zeros((2, 0), np.int64), np.zeros(0))]
        """Of parts that touch, whatever their labels."""
        self._labels = [np.zeros(0, np.uint8)]
        self._voxels = [np.zeros(0, np.int64)]
        self._first = [np.zeros(0, np.int64)]
        self._surfaces = [np.zeros(0)]
        """Of each part: label, size, flat canonical index of the first voxel, and the area that
        borders anything but itself within the slab."""

    def close(self) -> None:
        """Let go of memory and disk space."""
        self._kept.close()

    def add(self, start: int, labels: NDArray[np.uint8]) -> None:
        """Take the labels (n, height, width) of the canonical slices from `start` on.

        Raises:
            VolumeError: there are more parts than `MAX_PARTS`, or there is no room on disk.
        """
        _, height, width = self._shape
        runs, plane = Runs.of(labels), height * width
        contacts = runs.touching(height, width, self._face_areas)
        first, second = contacts.pairs
        alike = runs.labels[first] == runs.labels[second]
        parts, count = connected(len(runs), contacts.pairs[:, alike])
        self._note(start, runs, parts, count)
        inner = area_of_each(parts[first[alike]], contacts.areas[alike], count)
        self._surfaces[-1] -= 2 * inner
        parts += self._count
        self._count += count
        if self._count > MAX_PARTS:
            raise VolumeError(
                f"the labels are in over {MAX_PARTS} parts, like noise: does the model suit the "
                "scan? Leave clean-up out to see them"
            )
        self._contacts.append(contacts.where(~alike).of_parts(parts, parts))
        for boundary, index in ((start, 0), (start + len(labels), len(labels) - 1)):
            face, which = runs.cut(index * plane, (index + 1) * plane)
            self._meet(boundary, face, parts[which])
        self._slabs.append((start, len(labels)))
        self._kept.append(np.stack([runs.starts, runs.stops, parts]).astype(np.uint32))

    def slabs(self, options: Postprocessing) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """The slabs in the order in which they came: first slice, and labels cleaned up."""
        cleaned = self._cleaned(options)
        for (start, slices), (starts, stops, parts) in zip(self._slabs, self._kept, strict=True):
            runs = Runs(starts, stops, cleaned[parts])
            yield start, runs.drawn((slices, *self._shape[1:]))

    def _note(self, start: int, runs: Runs, parts: NDArray[np.int64], count: int) -> None:
        """Note label, size, first voxel and faces of each part of a slab."""
        _, height, width = self._shape
        first = np.unique(parts, return_index=True)[1]
        faces = runs.faces(start, self._shape, self._face_areas)
        self._labels.append(runs.labels[first])
        self._voxels.append(np.bincount(parts, runs.stops - runs.starts).astype(np.int64))
        self._first.append(runs.starts[first] + start * height * width)
        self._surfaces.append(area_of_each(parts, faces, count))

    def _meet(self, boundary: int, face: Runs, parts: NDArray[np.int64]) -> None:
        """Note which parts touch across a boundary, once both of its sides have come."""
        if boundary not in self._faces:
            self._faces[boundary] = face, parts
            return
        beside, parts_beside = self._faces.pop(boundary)
        contacts = overlapping(face.starts, face.stops, beside, self._face_areas[0])
        self._contacts.append(contacts.of_parts(parts, parts_beside))

    def _cleaned(self, options: Postprocessing) -> NDArray[np.uint8]:
        """The label of each part after the clean-up."""
        contacts = Contacts.joined(self._contacts)
        labels, voxels = np.concatenate(self._labels), np.concatenate(self._voxels)
        if options.keep_largest_liver and self._count:
            liver, count = connected(self._count, contacts.pairs)
            labels[liver != self._largest(liver, count, voxels)] = BACKGROUND
        first, second = contacts.pairs
        alike = contacts.where(labels[first] == labels[second])
        number, count = connected(self._count, alike.pairs)
        to_liver, surface = self._borders(labels, number, count, contacts, alike)
        in_liver = to_liver > 0
        small = np.bincount(number, voxels, count) * self._voxel_ml < options.min_lesion_ml
        outside = to_liver < options.min_liver_contact * surface * (1 - _ROUNDING)
        if options.drop_lesions_outside_liver:
            outside |= ~in_liver
        lesion = labels == LESION
        labels[lesion & small[number]] = BACKGROUND
        labels[lesion & (small & in_liver)[number]] = LIVER
        labels[lesion & outside[number]] = BACKGROUND
        return labels

    def _borders(
        self,
        labels: NDArray[np.uint8],
        number: NDArray[np.int64],
        count: int,
        contacts: Contacts,
        alike: Contacts,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The areas of each lesion that border liver, and anything but itself.

        Args:
            labels: of parts.
            number: the lesion or liver that each part belongs to.
            count: of these.
            contacts: of all parts that touch.
            alike: those between parts of one label.
        """
        to_liver = np.zeros(count)
        for here, there in (contacts.pairs, contacts.pairs[::-1]):
            which = (labels[here] == LESION) & (labels[there] == LIVER)
            to_liver += area_of_each(number[here[which]], contacts.areas[which], count)
        surface = area_of_each(number, np.concatenate(self._surfaces), count)
        surface -= 2 * area_of_each(number[alike.pairs[0]], alike.areas, count)
        return to_liver, surface

    def _largest(self, liver: NDArray[np.int64], count: int, voxels: NDArray[np.int64]) -> int:
        """Number of the largest liver; of equally large ones, of that which begins first."""
        size = np.bincount(liver, voxels, count)
        first = np.full(count, np.iinfo(np.int64).max)
        np.minimum.at(first, liver, np.concatenate(self._first))
        return int(np.lexsort((first, -size))[0])


def cleaned_up(
    slabs: Iterable[tuple[int, NDArray[np.uint8]]], geometry: Geometry, options: Postprocessing
) -> Generator[tuple[int, NDArray[np.uint8]], None, None]:
    """First slice and labels of slabs: as they come if nothing cleans up, else after the last."""
    if not options.cleans_up:
        yield from slabs
        return
    with closing(CleanUp(geometry)) as clean_up:
        for start, labels in slabs:
            clean_up.add(start, labels)
        yield from clean_up.slabs(options)
