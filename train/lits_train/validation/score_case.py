"""One case through the network and the runtime's clean-up, scored under every candidate at once.

The case is read twice, slab by slab: once for the network, once to compare the reference with the
labels that every candidate's clean-up gives back. Only runs of voxels are kept in between.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import pairwise
from math import prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lits_runtime.cleanup.clean_up import CleanUp
from lits_runtime.labels import MASKS, lesion_mask
from lits_runtime.segment.slabs.liver_search import LEAST_MM2, step_of
from lits_runtime.volumes.geometry import Geometry
from lits_train.settings.inference import Inference
from lits_train.validation.case_scores import SEARCHES, CaseScores, Counts
from lits_train.validation.interpolation import CaseLabels
from lits_train.validation.labeller import Labeller, Thresholds
from lits_train.validation.lesions_found import LesionOverlaps
from lits_train.validation.volumes import CaseVolume

Labels = NDArray[np.uint8]
Key: TypeAlias = tuple[Thresholds, float]
"""What labels depend on: thresholds, and the distance of the interpolation."""


def score_case(
    labeller: Labeller,
    volume: CaseVolume,
    case_id: str,
    classes: Sequence[str],
    candidates: Sequence[Inference],
    stop_requested: Callable[[], bool] = lambda: False,
) -> CaseScores | None:
    """Score a case; None if a stop was requested.

    Args:
        labeller: what is scored.
        volume: of the case.
        case_id: for the result.
        classes: that the reference marks.
        candidates: those of the same thresholds and interpolation share their labels.
        stop_requested: called before every slab.
    """
    geometry = volume.geometry
    tallies = [Tally(geometry.canonical_shape[0]) for _ in candidates]
    with ExitStack() as stack:
        cleaners = {
            key: stack.enter_context(closing(CleanUp(geometry)))
            for key in dict.fromkeys(map(_key, candidates))
        }
        present = _label(labeller, volume, cleaners, stop_requested)
        if present is None:
            return None
        cleaned = [cleaners[_key(one)].slabs(one.postprocessing) for one in candidates]
        totals = _compare(volume, cleaned, tallies, stop_requested)
        if totals is None:
            return None
    counts = tuple(
        tally.counts(present[_key(one)], geometry)
        for tally, one in zip(tallies, candidates, strict=True)
    )
    scored = tuple(name for name in labeller.classes if name in classes)
    return CaseScores(case_id, volume.full_resolution, scored, geometry.voxel_ml, totals, counts)


def _key(candidate: Inference) -> Key:
    return candidate.thresholds, candidate.interpolation_mm


def _label(
    labeller: Labeller,
    volume: CaseVolume,
    cleaners: Mapping[Key, CleanUp],
    stop_requested: Callable[[], bool],
) -> dict[Key, NDArray[np.bool_]] | None:
    """Give each clean-up its labels; which slices show liver, by thresholds and interpolation."""
    geometry = volume.geometry
    pixel_mm2 = prod(geometry.canonical_spacing_mm[1:])
    present = {key: np.zeros(geometry.canonical_shape[0], bool) for key in cleaners}
    labels_of = {
        (thresholds, mm): CaseLabels(geometry, mm, labeller.classes, thresholds)
        for thresholds, mm in cleaners
    }
    for start, slab_hu in volume.slabs(labeller.context_slices):
        if stop_requested():
            return None
        probability = labeller.probability(slab_hu)
        for key, cleaner in cleaners.items():
            for first, labels in labels_of[key].add(start, probability):
                cleaner.add(first, labels)
                area_mm2 = np.count_nonzero(labels, axis=(1, 2)) * pixel_mm2
                present[key][first : first + len(labels)] = area_mm2 >= LEAST_MM2
    return present


def _compare(
    volume: CaseVolume,
    several: Sequence[Iterator[tuple[int, Labels]]],
    tallies: Sequence["Tally"],
    stop_requested: Callable[[], bool],
) -> tuple[int, int] | None:
    """Add cleaned labels to the tallies; the voxels of liver and lesion in the reference."""
    reference = np.zeros(2, np.int64)
    for labels_gt, *cleaned in zip(volume.labels(), *several, strict=True):
        if stop_requested():
            return None
        reference += [np.count_nonzero(mask(labels_gt)) for mask in MASKS.values()]
        box = _box([labels_gt, *(labels for _, labels in cleaned)])
        for tally, (start, labels) in zip(tallies, cleaned, strict=True):
            tally.add(start, labels[:, *box], labels_gt[:, *box], box)
    return int(reference[0]), int(reference[1])


class Tally:
    """Voxels and lesions of one candidate, added up slab by slab."""

    def __init__(self, slices: int) -> None:
        self._voxels = np.zeros((slices, 2, 2), np.int64)
        self._reference, self._predicted = LesionOverlaps(), LesionOverlaps()

    def add(self, start: int, labels: Labels, labels_gt: Labels, box: tuple[slice, slice]) -> None:
        """Add a slab, cut to a box that holds all labels."""
        for channel, mask in enumerate(MASKS.values()):
            pred = mask(labels)
            for kind, counted in enumerate((pred, pred & mask(labels_gt))):
                sums = np.count_nonzero(counted, axis=(1, 2))
                self._voxels[start : start + len(labels), channel, kind] = sums
        pred, gt, corner = lesion_mask(labels), lesion_mask(labels_gt), (box[0].start, box[1].start)
        self._reference.add(start, gt, pred, corner)
        self._predicted.add(start, pred, gt, corner)

    def counts(self, present: NDArray[np.bool_], geometry: Geometry) -> Counts:
        """The sums, with each distance of the search."""
        kept = [looked_at(present, geometry, search_mm) for search_mm in SEARCHES]
        voxels = np.stack([self._voxels[slices].sum(axis=0) for slices in kept])
        recall, precision = (
            one.counts(geometry.voxel_ml) for one in (self._reference, self._predicted)
        )
        return Counts(voxels, recall, precision)


def _box(several: Sequence[Labels]) -> tuple[slice, slice]:
    """Rows and columns around all labels of a slab."""
    seen = np.logical_or.reduce([labels.any(axis=0) for labels in several])
    rows, columns = (np.flatnonzero(seen.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def looked_at(
    present: NDArray[np.bool_], geometry: Geometry, search_mm: float
) -> NDArray[np.bool_]:
    """Slices whose labels a search for the liver leaves; see `segment.slabs.liver_search`.

    >>> present = np.array([0, 1, 0, 0, 0, 1, 1], bool)
    >>> looked_at(present, Geometry((1, 1, 7), np.diag([10, 10, 5, 1])), 10).astype(int)
    array([1, 0, 1, 0, 1, 1, 1])
    """
    last, step = len(present) - 1, step_of(geometry, search_mm)
    kept = np.ones_like(present)
    for low, high in pairwise([*range(0, last, step), last]):
        if not (present[low] or present[high]):
            kept[low + 1 : high] = False
    return kept
