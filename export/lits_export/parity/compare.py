"""Numerical parity of a model with its PyTorch network, slab by slab through the runtime."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from lits_export.parity.slabs import CheckSlab
from lits_export.parity.tolerance import Tolerance
from lits_runtime.errors import ParityError
from lits_runtime.labels import MASKS
from lits_train.network.slab_segmenter import SlabSegmenter

WORST_SLICES = 4
"""Slices kept for a search of what makes a model differ."""


class Compared(Protocol):
    """What is compared with the network: a `Segmenter`, or an emulation of one."""

    provider: str

    def labels(self, slab_hu: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(n + 2 * context_slices, height, width) to (n, height, width)."""
        ...

    def probability(self, slab_hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n + 2 * context_slices, height, width) to (n, classes, height, width)."""
        ...


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
    volume_ml: float
    """Of the network's mask."""
    volume_difference_ml: float
    """Model minus network."""

    def broken(self, tolerance: Tolerance) -> list[str]:
        """What is out of tolerance; NaN always is."""
        found = []
        most, volume = tolerance.probability, tolerance.volume_percent
        if not np.isfinite(self.largest_difference):
            found.append("values that are not finite")
        elif most is not None and not self.largest_difference <= most:
            found.append(f"largest difference {self.largest_difference:.2e} (at most {most:g})")
        if not self.dice >= tolerance.dice:
            found.append(f"Dice {self.dice:.6f} (at least {tolerance.dice:g})")
        allowed_ml = np.inf if volume is None else volume / 100 * self.volume_ml
        if not abs(self.volume_difference_ml) <= allowed_ml:
            found.append(
                f"volume {self.volume_difference_ml:+.3f} of {self.volume_ml:.3f} ml "
                f"(at most {volume:g} %)"
            )
        return found


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
                f"{changed:24}  {c.volume_difference_ml:+.3f} of {c.volume_ml:.3f} ml"
            )
        lines.append(
            f"worst: slice {self.worst_slice} of {self.worst_slab}; {self.slices} slices in "
            f"{self.slabs} slabs on {self.provider}"
        )
        return "\n".join(lines)

    def broken(self, tolerance: Tolerance) -> str:
        """What is out of tolerance, as text; empty if nothing is."""
        return "; ".join(
            f"{name} on {self.provider}: {', '.join(found)}"
            for name, figures in self.classes.items()
            if (found := figures.broken(tolerance))
        )


@dataclass(frozen=True)
class WorstSlice:
    """The slice of a slab with the largest difference, and both probabilities of it."""

    slab: str
    index: int
    """Within the slab."""
    slab_hu: NDArray[np.float32]
    """(1 + 2 * context_slices, height, width)"""
    probability_gt: NDArray[np.float32]
    """(classes, height, width), of the network."""
    probability_pred: NDArray[np.float32]
    """(classes, height, width), of the model."""
    difference: float
    """Largest |probability difference|; infinite where a value is not finite."""


def compare(
    reference: SlabSegmenter, compared: Sequence[Compared], slabs: Iterable[CheckSlab]
) -> list[tuple[ParityReport, list[WorstSlice]]]:
    """Run every slab through the PyTorch network in float32, and through each of `compared`.

    Returns:
        For each of `compared` its figures and its worst slices, at most one of a slab, worst first.

    Raises:
        ParityError: there are no slabs.
    """
    comparisons = [_Comparison(reference, one) for one in compared]
    for slab in slabs:
        with torch.inference_mode():
            outputs = reference(torch.from_numpy(slab.slab_hu))
        labels_gt, probability_gt = (output.numpy() for output in outputs)
        for comparison in comparisons:
            comparison.add(slab, labels_gt, probability_gt)
    return [comparison.result() for comparison in comparisons]


class _Comparison:
    """The figures of one of those compared, added up over the slabs."""

    def __init__(self, reference: SlabSegmenter, compared: Compared) -> None:
        recipe = reference.recipe
        self.compared, self.context = compared, recipe.context_slices
        facts = zip(recipe.classes, recipe.thresholds, strict=True)
        self.counters = [_ClassCounter(*fact) for fact in facts]
        self.worst: list[WorstSlice] = []
        self.slabs = self.slices = 0

    def add(
        self,
        slab: CheckSlab,
        labels_gt: NDArray[np.uint8],
        probability_gt: NDArray[np.float32],
    ) -> None:
        labels_pred = self.compared.labels(slab.slab_hu)
        probability_pred = self.compared.probability(slab.slab_hu)
        difference = np.abs(probability_pred - probability_gt)
        difference[~np.isfinite(difference)] = np.inf
        for channel, counter in enumerate(self.counters):
            counter.add_differences(difference[:, channel])
            counter.add_labels(labels_pred, labels_gt, probability_gt[:, channel], slab.voxel_ml)
        by_slice = difference.max(axis=(1, 2, 3))
        index = int(by_slice.argmax())
        if len(self.worst) < WORST_SLICES or by_slice[index] > self.worst[-1].difference:
            slab_hu = slab.slab_hu[index : index + 1 + 2 * self.context].copy()
            probabilities = probability_gt[index].copy(), probability_pred[index].copy()
            found = WorstSlice(slab.name, index, slab_hu, *probabilities, float(by_slice[index]))
            self.worst = sorted([*self.worst, found], key=lambda slice_: -slice_.difference)
            del self.worst[WORST_SLICES:]
        self.slabs, self.slices = self.slabs + 1, self.slices + len(labels_gt)

    def result(self) -> tuple[ParityReport, list[WorstSlice]]:
        if not self.worst:
            raise ParityError("no slabs to compare: name a scan, or none to compare on the phantom")
        figures = {counter.name: counter.figures() for counter in self.counters}
        where = self.compared.provider, self.worst[0].slab, self.worst[0].index
        return ParityReport(figures, self.slabs, self.slices, *where), self.worst


class _ClassCounter:
    """The figures of one class, added up over the slabs in bounded memory."""

    _EDGES = np.concatenate([[0.0], np.geomspace(1e-9, 1.0, 2100), [np.inf]])  # steps of 1 %

    def __init__(self, name: str, threshold: float) -> None:
        self.name, self.threshold = name, threshold
        self.mask = MASKS[name]
        self.largest = 0.0
        self.histogram = np.zeros(len(self._EDGES) - 1, np.int64)
        self.overlap = self.pred = self.gt = 0
        self.volume_ml = self.volume_gt_ml = 0.0
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
        mask_pred, mask_gt = self.mask(labels_pred), self.mask(labels_gt)
        pred, gt = int(mask_pred.sum()), int(mask_gt.sum())
        self.overlap += int((mask_pred & mask_gt).sum())
        self.pred, self.gt = self.pred + pred, self.gt + gt
        self.volume_ml += pred * voxel_ml
        self.volume_gt_ml += gt * voxel_ml
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
            volume_ml=self.volume_gt_ml,
            volume_difference_ml=self.volume_ml - self.volume_gt_ml,
        )
