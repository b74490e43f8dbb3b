"""Which segments the labels of a series make, and how they are described."""

from dataclasses import dataclass

import cc3d
import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import SegmentDescription
from numpy.typing import NDArray

from lits_runtime.labels import BACKGROUND, COLOURS, LABEL_VALUES, LESION, LIVER
from lits_runtime.volumes.dicom_objects import codes
from lits_runtime.volumes.dicom_objects.facts import MANUFACTURER, Algorithm, ObjectOptions
from lits_runtime.volumes.dicom_objects.identity import derived_uid
from lits_runtime.volumes.geometry import Geometry

COLOURS_RGB = {name: tuple(bytes.fromhex(colour[1:])) for name, colour in COLOURS.items()}
"""sRGB."""
MAX_SEGMENTS_OF_LESIONS = 250
"""Smaller lesions share the last of them, so that a noisy label map makes no thousand segments."""


@dataclass(frozen=True)
class Segment:
    """One segment that has voxels."""

    label: str
    kind: str
    """"liver" or "lesion"."""
    tracking_uid: str


@dataclass(frozen=True)
class Segments:
    """The segments of an object: number n is that of `listed[n - 1]`."""

    numbers: NDArray[np.unsignedinteger]
    """(k, j, i): the segment of each voxel, 0 outside."""
    listed: tuple[Segment, ...]
    empty: tuple[str, ...]
    """Classes without a voxel: viewers hang on empty segments, so that they have none."""


@dataclass(frozen=True)
class NumberedLesions:
    """Lesions by number, from 1, the largest first, as `measure.lesions` orders them."""

    numbers: NDArray[np.unsignedinteger]
    """Of the voxels in `box`; 0 outside."""
    box: tuple[slice, slice, slice]
    count: int

    def slices_of(self, number: int) -> NDArray[np.intp]:
        """Indices k of the slices that a lesion is in."""
        here = (self.numbers == number).any((1, 2))
        slices: NDArray[np.intp] = np.flatnonzero(here) + self.box[0].start
        return slices


def number_lesions(labels: NDArray[np.uint8], geometry: Geometry) -> NumberedLesions:
    """Connect lesions by the faces of their voxels.

    Args:
        labels: (k, j, i).
        geometry: of the series; equally large lesions are in canonical order.
    """
    box = _box(labels)
    if box[0].start == box[0].stop:  # cc3d gives an empty array another shape
        return NumberedLesions(np.zeros((0, 0, 0), np.uint16), box, 0)
    mask = np.ascontiguousarray(geometry.to_canonical((labels[box] == LESION).T))
    parts, count = cc3d.connected_components(mask, connectivity=6, return_N=True)
    inside = parts[parts > 0]
    _, first, sizes = np.unique(inside, return_index=True, return_counts=True)
    ranks = np.zeros(count + 1, np.uint16 if count < 2**16 else np.uint32)
    ranks[np.lexsort((first, -sizes)) + 1] = np.arange(1, count + 1)
    return NumberedLesions(geometry.from_canonical(ranks[parts]).T, box, count)


def _box(labels: NDArray[np.uint8]) -> tuple[slice, slice, slice]:
    """What holds all lesions."""
    slices = np.flatnonzero([(plane == LESION).any() for plane in labels])
    if not len(slices):
        return slice(0, 0), slice(0, 0), slice(0, 0)
    first, last = int(slices[0]), int(slices[-1]) + 1
    flat = np.zeros(labels.shape[1:], bool)
    for plane in labels[first:last]:
        flat |= plane == LESION
    rows, columns = np.flatnonzero(flat.any(1)), np.flatnonzero(flat.any(0))
    return (
        slice(first, last),
        slice(int(rows[0]), int(rows[-1]) + 1),
        slice(int(columns[0]), int(columns[-1]) + 1),
    )


def make_segments(
    labels: NDArray[np.uint8],
    geometry: Geometry,
    options: ObjectOptions,
    source_uid: str,
) -> Segments:
    """The segments of labels (k, j, i): the liver without its lesions, then lesions.

    They do not overlap: viewers that hold one label for each voxel would drop one of two.
    """
    present = {
        value for value in LABEL_VALUES.values() if any((plane == value).any() for plane in labels)
    }
    empty = tuple(name for name, value in LABEL_VALUES.items() if value not in present)
    listed: list[Segment] = []
    values = np.zeros(LESION + 1, np.uint8)
    if LIVER in present:
        listed.append(Segment("Liver", "liver", derived_uid(source_uid, "liver")))
        values[LIVER] = len(listed)
    if LESION in present and not options.segment_per_lesion:
        listed.append(Segment("Lesions", "lesion", derived_uid(source_uid, "lesions")))
        values[LESION] = len(listed)
    numbers = labels if np.array_equal(values, np.arange(3)) else values[labels]
    if LESION in present and options.segment_per_lesion:
        lesions, before = number_lesions(labels, geometry), len(listed)
        shown = min(lesions.count, MAX_SEGMENTS_OF_LESIONS)
        for number in range(1, shown + 1):
            label = f"Lesion {number}"
            if number == shown < lesions.count:
                label = f"Lesions {number} to {lesions.count}"
            listed.append(Segment(label, "lesion", derived_uid(source_uid, "lesion", number)))
        of_lesion = np.minimum(np.arange(lesions.count + 1), shown) + before
        of_lesion[0] = BACKGROUND
        inside = lesions.numbers > 0
        numbers[lesions.box][inside] = of_lesion[lesions.numbers[inside]]
    return Segments(numbers, tuple(listed), empty)


def describe(
    segments: Segments, algorithm: Algorithm, options: ObjectOptions
) -> list[SegmentDescription]:
    """The descriptions of segments, in the order of their numbers."""
    made_by = AlgorithmIdentificationSequence(
        name=algorithm.name,
        family=codes.ARTIFICIAL_INTELLIGENCE,
        version=algorithm.version,
        source=MANUFACTURER,
        parameters={"model SHA-256": algorithm.model_sha256},
    )
    described = []
    for number, segment in enumerate(segments.listed, 1):
        lesion = segment.kind == "lesion"
        description = SegmentDescription(
            segment_number=number,
            segment_label=segment.label,
            segmented_property_category=(
                codes.ALTERED_STRUCTURE if lesion else codes.ANATOMICAL_STRUCTURE
            ),
            segmented_property_type=codes.LESIONS[options.lesion_code] if lesion else codes.LIVER,
            algorithm_type="AUTOMATIC",
            algorithm_identification=made_by,
            tracking_uid=segment.tracking_uid,
            tracking_id=segment.label,
            anatomic_regions=[codes.LIVER] if lesion else None,
            display_color=CIELabColor.from_rgb(*COLOURS_RGB[segment.kind]),
        )
        if not lesion:
            description.SegmentDescription = "Liver without its lesions"
        described.append(description)
    return described
