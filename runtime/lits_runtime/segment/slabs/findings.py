"""What the labels of one scan amount to: volumes, lesions and warnings, added up slab by slab."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lits_runtime.labels import lesion_mask
from lits_runtime.measure.lesions import Lesion, LesionTracker
from lits_runtime.measure.volumes_ml import Tally
from lits_runtime.model.metadata import Postprocessing
from lits_runtime.plausibility.overview import Overview
from lits_runtime.plausibility.warnings import scan_warnings
from lits_runtime.segment.slabs.inference import SlabResult
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

    def without_probability(self) -> "ExaminedSlab":
        """The same, less what takes most memory."""
        return replace(self, result=replace(self.result, probability=None))


class Findings:
    """Takes the slabs of one scan in any order; `examine` may be called from several threads.

    Args:
        geometry: of the scan.
        classes: of the model.
        postprocessing: of the labels.
    """

    def __init__(
        self, geometry: Geometry, classes: tuple[str, ...], postprocessing: Postprocessing
    ) -> None:
        self._geometry, self._classes = geometry, classes
        self._cleaned_up = postprocessing.cleans_up
        self._overview = Overview(geometry)
        self._tracker = LesionTracker(geometry, cleaned_up=self._cleaned_up)
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
        """Measure the lesions of a slab, and take note of its values."""
        self.tally.see(slab.lowest_hu, slab.highest_hu)
        self._overview.put_hu(slab.start, slab.sampled_hu)
        probability = self._lesion_probability(slab.result)
        self._tracker.add_slab(slab.start, slab.result.labels, slab.slab_hu, probability)

    def count(self, start: int, labels: NDArray[np.uint8]) -> None:
        """Count the labels (n, height, width) that are kept of a slab.

        After a clean-up they come once all slabs have been added; lesions without any are dropped.
        """
        self.tally.add(start, labels)
        self._overview.put_labels(start, labels)
        if self._cleaned_up:
            self._tracker.keep(start, labels)

    @cached_property
    def lesions(self) -> tuple[tuple[Lesion, ...], int]:
        """The largest lesions, largest first, and how many there are in all; of all slabs."""
        return self._tracker.lesions()

    def warnings(self) -> list[str]:
        """What is odd about the values and the labels, once all slabs have been added."""
        _, lesion_count = self.lesions
        return scan_warnings(self._overview, self.tally, lesion_count, self._classes)

    def _lesion_probability(self, result: SlabResult) -> NDArray[np.float32] | None:
        if result.probability is None or "lesion" not in self._classes:
            return None
        return result.probability[:, self._classes.index("lesion")]
