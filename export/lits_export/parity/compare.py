"""Numerical parity of a model with its PyTorch network, slab by slab in each engine.

Slabs of anatomy decide on masks and volumes. Boundary slabs decide on finiteness and probabilities
alone: what a network finds in a constant slice is nothing that a mask could be judged by.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lits_export.parity.engines import Compared, engine_version
from lits_export.parity.report import BoundaryParity, ClassParity, ParityReport
from lits_export.parity.slabs import CheckSlab
from lits_runtime.errors import ParityError
from lits_runtime.labels import MASKS
from lits_train.network.slab_segmenter import SlabSegmenter
from lits_train.settings.recipe import Recipe

WORST_SLICES = 4
"""Slices of anatomy, and of boundary slabs, kept to search for what makes a model differ."""


@dataclass(frozen=True)
class WorstSlice:
    """The slice of a slab with the largest difference, and both probabilities of it."""

    slab: str
    anatomy: bool
    """Whether it is of a scan or the phantom."""
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


@dataclass(frozen=True)
class Expected:
    """A slab, and what the network says of it."""

    slab: CheckSlab
    labels: NDArray[np.uint8]
    """(n, height, width)"""
    probability: NDArray[np.float32]
    """(n, classes, height, width)"""

    @property
    def bytes(self) -> int:
        """In memory."""
        return self.slab.slab_hu.nbytes + self.labels.nbytes + self.probability.nbytes


def expected(reference: SlabSegmenter, slabs: Iterable[CheckSlab]) -> Iterator[Expected]:
    """The outputs of the PyTorch network in float32, slab by slab."""
    for slab in slabs:
        with torch.inference_mode():
            labels, probability = reference(torch.from_numpy(slab.slab_hu))
        yield Expected(slab, labels.numpy(), probability.numpy())


def compare(
    reference: SlabSegmenter, compared: Sequence[Compared], slabs: Iterable[CheckSlab]
) -> list[tuple[ParityReport, list[WorstSlice]]]:
    """Run every slab through the PyTorch network in float32, and through each of `compared`.

    Returns:
        For each of `compared` its figures and its worst slices of either kind, at most one of a
        slab, the worst first.

    Raises:
        ParityError: there are no slabs of anatomy, or an engine failed.
    """
    return compare_with(expected(reference, slabs), reference.recipe, compared)


def compare_with(
    found: Iterable[Expected], recipe: Recipe, compared: Sequence[Compared]
) -> list[tuple[ParityReport, list[WorstSlice]]]:
    """As `compare`, with what the network of the recipe says."""
    comparisons = [_Comparison(recipe, one) for one in compared]
    for one in found:
        for comparison in comparisons:
            comparison.add(one.slab, one.labels, one.probability)
    return [comparison.result() for comparison in comparisons]


class _Comparison:
    """The figures of one of those compared, added up over the slabs."""

    def __init__(self, recipe: Recipe, compared: Compared) -> None:
        self.compared, self.context = compared, recipe.context_slices
        facts = zip(recipe.classes, recipe.thresholds, strict=True)
        self.counters = [_ClassCounter(*fact) for fact in facts]
        self.worst: list[WorstSlice] = []
        self.boundary = BoundaryParity(0, 0.0, "")
        self.slabs = self.slices = 0

    def add(
        self,
        slab: CheckSlab,
        labels_gt: NDArray[np.uint8],
        probability_gt: NDArray[np.float32],
    ) -> None:
        labels_pred, probability_pred = self.compared.segment(slab.slab_hu)
        difference = np.abs(probability_pred - probability_gt)
        difference[~np.isfinite(difference)] = np.inf
        if slab.anatomy:
            for channel, counter in enumerate(self.counters):
                counter.add_differences(difference[:, channel])
                gt = labels_gt, probability_gt[:, channel]
                counter.add_labels(labels_pred, *gt, slab.voxel_ml)
            self.slabs, self.slices = self.slabs + 1, self.slices + len(labels_gt)
        else:
            self._add_boundary(slab.name, float(difference.max()))
        self._keep_worst(slab, difference.max(axis=(1, 2, 3)), probability_gt, probability_pred)

    def _add_boundary(self, name: str, largest: float) -> None:
        slabs, before, worst = astuple(self.boundary)
        if largest > before or not slabs:
            before, worst = largest, name
        self.boundary = BoundaryParity(slabs + 1, before, worst)

    def _keep_worst(
        self,
        slab: CheckSlab,
        by_slice: NDArray[np.float32],
        probability_gt: NDArray[np.float32],
        probability_pred: NDArray[np.float32],
    ) -> None:
        """Keep the slab's worst slice if it is one of the worst of all of its kind."""
        index = int(by_slice.argmax())
        slab_hu = slab.slab_hu[index : index + 1 + 2 * self.context].copy()
        found = WorstSlice(
            slab.name,
            slab.anatomy,
            index,
            slab_hu,
            probability_gt[index].copy(),
            probability_pred[index].copy(),
            float(by_slice[index]),
        )
        worst = sorted([*self.worst, found], key=lambda slice_: -slice_.difference)
        by_kind = ([one for one in worst if one.anatomy == kind] for kind in (True, False))
        kept = [one for kind in by_kind for one in kind[:WORST_SLICES]]
        self.worst = sorted(kept, key=lambda slice_: -slice_.difference)

    def result(self) -> tuple[ParityReport, list[WorstSlice]]:
        if not self.slabs:
            raise ParityError("no slabs to compare: name a scan, or none to compare on the phantom")
        name = self.compared.provider
        report = ParityReport(
            provider=name,
            version=engine_version(name),
            classes={counter.name: counter.figures() for counter in self.counters},
            boundary=self.boundary,
            slabs=self.slabs,
            slices=self.slices,
            worst_slab=self.worst[0].slab,
            worst_slice=self.worst[0].index,
        )
        return report, self.worst


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
            voxels=self.gt,
            volume_ml=self.volume_gt_ml,
            volume_difference_ml=self.volume_ml - self.volume_gt_ml,
        )
