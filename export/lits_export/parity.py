"""Does the file say what the network says? Compared slab by slab, through the runtime itself."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lits_export.slabs import CheckSlab
from lits_runtime.errors import ParityError
from lits_runtime.segmenter import Segmenter
from lits_train.pipeline import SlabSegmenter
from lits_train.recipe import LABEL_VALUES


@dataclass(frozen=True)
class Tolerance:
    """How far a file may be from the network."""

    probability: float
    """Largest |difference| of any voxel's probability."""
    dice: float
    """Smallest Dice between the two label maps, per class, over all slabs."""


TOLERANCES = {
    "fp32": Tolerance(probability=1e-4, dice=0.9999),
    "fp16": Tolerance(probability=1e-2, dice=0.999),
}


@dataclass(frozen=True)
class ClassParity:
    """Figures of one class over all slabs."""

    largest_difference: float
    """Of |probability difference|."""
    percentile_999: float
    """99.9th percentile of |probability difference|, from a histogram: at most 1 % too high."""
    dice: float
    """Between the two masks; 1 where both are empty."""
    changed_voxels: int
    changed_near_threshold: int
    """Of those, voxels whose probability is within the largest difference of the threshold."""
    volume_difference_ml: float
    """Model minus network."""


@dataclass(frozen=True)
class ParityReport:
    """Figures per class, and what they were measured on."""

    classes: dict[str, ClassParity]
    slabs: int
    slices: int
    provider: str
    worst_slab: str
    """Where the largest difference was found."""
    worst_slice: int
    """Its slice within the slab."""

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values, for the model's metadata."""
        return asdict(self)

    def table(self) -> str:
        """The figures as lines of text."""
        lines = ["class     largest   99.9 %    Dice      changed (near threshold)  volume"]
        for name, c in self.classes.items():
            changed = f"{c.changed_voxels} ({c.changed_near_threshold})"
            lines.append(
                f"{name:8}  {c.largest_difference:.2e}  {c.percentile_999:.2e}  {c.dice:.6f}  "
                f"{changed:24}  {c.volume_difference_ml:+.3f} ml"
            )
        lines.append(
            f"worst: slice {self.worst_slice} of {self.worst_slab}; {self.slices} slices in "
            f"{self.slabs} slabs on {self.provider}"
        )
        return "\n".join(lines)

    def broken(self, tolerance: Tolerance) -> str:
        """The classes whose figures are out of tolerance, with the figures; empty if none is."""
        return "; ".join(
            f"{name}: largest difference {c.largest_difference:.2e} (at most "
            f"{tolerance.probability:g}), Dice {c.dice:.6f} (at least {tolerance.dice:g})"
            for name, c in self.classes.items()
            # written so that NaN fails
            if not (c.largest_difference <= tolerance.probability and c.dice >= tolerance.dice)
        )


def compare(
    reference: SlabSegmenter, segmenter: Segmenter, slabs: Iterable[CheckSlab]
) -> tuple[ParityReport, CheckSlab]:
    """Run every slab through the torch network in float32 and through the model file.

    Returns:
        The figures, and the slab with the largest difference.

    Raises:
        ParityError: there was not one slab to compare.
    """
    recipe = reference.recipe
    counters = [
        _ClassCounter(*facts) for facts in zip(recipe.classes, recipe.thresholds, strict=True)
    ]
    worst, worst_slab, worst_slice, count, slices = -1.0, None, 0, 0, 0
    for slab in slabs:
        with torch.inference_mode():
            labels_gt, probability_gt = (
                output.numpy() for output in reference(torch.from_numpy(slab.slab_hu))
            )
        labels_pred = segmenter.labels(slab.slab_hu)
        difference = np.abs(segmenter.probability(slab.slab_hu) - probability_gt)
        difference[~np.isfinite(difference)] = np.inf
        for channel, counter in enumerate(counters):
            counter.add_differences(difference[:, channel])
            counter.add_labels(labels_pred, labels_gt, probability_gt[:, channel], slab.voxel_ml)
        by_slice = difference.max(axis=(1, 2, 3))
        if by_slice.max() > worst:
            worst, worst_slab = float(by_slice.max()), slab
            worst_slice = int(by_slice.argmax())
        count, slices = count + 1, slices + len(labels_gt)
    if worst_slab is None:
        raise ParityError("no slab to compare on")
    figures = {counter.name: counter.figures() for counter in counters}
    report = ParityReport(figures, count, slices, segmenter.provider, worst_slab.name, worst_slice)
    return report, worst_slab


class _ClassCounter:
    """Adds up one class over the slabs; memory does not grow with their number."""

    _EDGES = np.concatenate([[0.0], np.geomspace(1e-9, 1.0, 2100), [np.inf]])  # steps of 1 %

    def __init__(self, name: str, threshold: float) -> None:
        self.name, self.threshold = name, threshold
        self.value = LABEL_VALUES[name]
        self.largest = 0.0
        self.histogram = np.zeros(len(self._EDGES) - 1, np.int64)
        self.overlap = self.pred = self.gt = 0
        self.volume_ml = 0.0
        self.distances: list[NDArray[np.float32]] = []  # of changed voxels, to the threshold

    def add_differences(self, difference: NDArray[np.float32]) -> None:
        self.largest = max(self.largest, float(difference.max()))
        self.histogram += np.histogram(difference, self._EDGES)[0]

    def add_labels(
        self,
        labels_pred: NDArray[np.uint8],
        labels_gt: NDArray[np.uint8],
        probability_gt: NDArray[np.float32],
        voxel_ml: float,
    ) -> None:
        mask_pred, mask_gt = labels_pred >= self.value, labels_gt >= self.value
        pred, gt = int(mask_pred.sum()), int(mask_gt.sum())
        self.overlap += int((mask_pred & mask_gt).sum())
        self.pred, self.gt = self.pred + pred, self.gt + gt
        self.volume_ml += (pred - gt) * voxel_ml
        self.distances.append(np.abs(probability_gt[mask_pred != mask_gt] - self.threshold))

    def figures(self) -> ClassParity:
        below = np.cumsum(self.histogram) >= 0.999 * self.histogram.sum()
        total = self.pred + self.gt
        distances = np.concatenate(self.distances)
        return ClassParity(
            largest_difference=self.largest,
            percentile_999=min(float(self._EDGES[1:][below][0]), self.largest),
            dice=2 * self.overlap / total if total else 1.0,
            changed_voxels=len(distances),
            changed_near_threshold=int((distances <= self.largest).sum()),
            volume_difference_ml=self.volume_ml,
        )
