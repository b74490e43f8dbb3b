"""What the labels of one scan amount to: volumes, lesions and warnings, added up slab by slab."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lits_runtime.labels import lesion_mask
from lits_runtime.measure.lesions import Lesion, LesionTracker
from lits_runtime.measure.volumes_ml import Tally
from lits_runtime.plausibility.overview import Overview
from lits_runtime.plausibility.warnings import scan_warnings
from lits_runtime.segment.cleanup import clean_up
from lits_runtime.segment.options import Options
from lits_runtime.segment.slab_inference import SlabResult
from lits_runtime.system.cached_property import cached_property
from lits_runtime.volumes.geometry import Geometry


@dataclass(frozen=True)
class ExaminedSlab:
    """The result of a slab, with what is needed of its values."""

    start: int
    """First canonical slice."""
    result: SlabResult
    slab_hu: NDArray[np.float32] | None
    """(n, height, width), where there are lesions to measure."""
    lowest_hu: float
    highest_hu: float
    sampled_hu: NDArray[np.int16]
    """For the overview."""


class Findings:
    """Takes the slabs of one scan in any order; `examine` may be called from several threads.

    Args:
        geometry: of the scan.
        classes: of the model.
        options: those of the clean-up are used.
    """

    def __init__(self, geometry: Geometry, classes: tuple[str, ...], options: Options) -> None:
        self._geometry, self._classes, self._options = geometry, classes, options
        self._overview = Overview(geometry)
        self._tracker = LesionTracker(geometry, keep_all=options.cleans_up)
        self._cleaned: NDArray[np.uint8] | None = None
        self.tally = Tally(geometry)

    def examine(self, start: int, slab_hu: NDArray[np.float32], result: SlabResult) -> ExaminedSlab:
        """Look at a slab's values (n, height, width), which need not be kept after that."""
        return ExaminedSlab(
            start,
            result,
            slab_hu if lesion_mask(result.labels).any() else None,
            float(slab_hu.min()),
            float(slab_hu.max()),
            self._overview.sample(start, slab_hu),
        )

    def add(self, slab: ExaminedSlab) -> None:
        """Count and measure a slab."""
        labels = slab.result.labels
        self.tally.add(slab.start, labels)
        self.tally.see(slab.lowest_hu, slab.highest_hu)
        self._overview.put(slab.start, slab.sampled_hu, labels)
        probability = self._lesion_probability(slab.result)
        self._tracker.add_slab(slab.start, labels, slab.slab_hu, probability)

    def clean_up(self, labels: NDArray[np.uint8]) -> None:
        """Clean up labels, canonical (slices, height, width), in place, and count them again."""
        # In canonical order, so that of equal components the same one is kept in any orientation.
        clean_up(labels.T, self._geometry.voxel_ml, self._options)
        before, self.tally = self.tally, Tally(self._geometry)
        self.tally.see(before.lowest_hu, before.highest_hu)
        self._overview.relabel(labels)
        for index, slice_labels in enumerate(labels):
            self.tally.add(index, slice_labels[None])
        self._cleaned = labels

    @cached_property
    def lesions(self) -> tuple[tuple[Lesion, ...], int]:
        """The largest lesions, largest first, and how many there are in all; of all slabs."""
        return self._tracker.lesions(self._cleaned)

    def warnings(self) -> list[str]:
        """What is odd about the values and the labels, once all slabs have been added."""
        _, lesion_count = self.lesions
        return scan_warnings(self._overview, self.tally, lesion_count, self._classes)

    def _lesion_probability(self, result: SlabResult) -> NDArray[np.float32] | None:
        if result.probability is None or "lesion" not in self._classes:
            return None
        return result.probability[:, self._classes.index("lesion")]
