"""Overlap of two masks as voxel counts, from which Dice, VOE and RVD follow and can be pooled."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lits_runtime.errors import DatasetError
from lits_runtime.labels import LIVER, lesion_mask

Value = TypeVar("Value", bound=np.generic)
Mask = NDArray[np.bool_]
Box = tuple[slice, ...]
"""Index expression of a part of an array."""


@dataclass(frozen=True)
class Overlap:
    """Voxel counts of two masks on one grid, and the scores of Heimann et al. (2009)."""

    intersection: int
    predicted: int
    reference: int

    @property
    def dice(self) -> float:
        """2 |P and R| / (|P| + |R|); 1 where both are empty, 0 where one is.

        >>> Overlap(intersection=1, predicted=2, reference=2).dice
        0.5
        """
        total = self.predicted + self.reference
        return 2 * self.intersection / total if total else 1.0

    @property
    def iou(self) -> float:
        """|P and R| / |P or R|, the Jaccard index; 1 where both are empty."""
        union = self.predicted + self.reference - self.intersection
        return self.intersection / union if union else 1.0

    @property
    def voe(self) -> float:
        """Volumetric overlap error, 1 - IoU: 0 is perfect, 1 is no overlap."""
        return 1 - self.iou

    @property
    def rvd(self) -> float:
        """Relative volume difference |P| / |R| - 1: positive where too much was predicted.

        0 where both are empty, infinite where the reference alone is.
        """
        if self.reference:
            return self.predicted / self.reference - 1
        return float("inf") if self.predicted else 0.0


def overlap(mask_pred: Mask, mask_gt: Mask) -> Overlap:
    """Count the voxels of two masks of equal shape.

    Raises:
        DatasetError: the shapes differ.
    """
    check_same_shape(mask_pred, mask_gt)
    return Overlap(
        int(np.count_nonzero(mask_pred & mask_gt)),
        int(np.count_nonzero(mask_pred)),
        int(np.count_nonzero(mask_gt)),
    )


def pooled(overlaps: Iterable[Overlap]) -> Overlap:
    """The overlap of all cases taken as one volume; its Dice is the challenge's "global" Dice."""
    counts = [(o.intersection, o.predicted, o.reference) for o in overlaps]
    return Overlap(*(sum(column) for column in zip(*counts, strict=True))) if counts else _NONE


def tumour_burden(labels: NDArray[np.uint8]) -> float:
    """Lesion voxels over liver voxels, where lesions are part of the liver.

    NaN where no voxel has label 1: a mask of lesions alone has no liver to relate them to.

    >>> tumour_burden(np.array([0, 1, 1, 1, 2], np.uint8))
    0.25
    """
    healthy = int(np.count_nonzero(labels == LIVER))
    lesion = int(np.count_nonzero(lesion_mask(labels)))
    return lesion / (healthy + lesion) if healthy else float("nan")


def knows_liver(labels: NDArray[np.uint8]) -> bool:
    """Whether a mask outlines the liver: one that holds nothing but lesions does not.

    >>> knows_liver(np.array([0, 2], np.uint8)), knows_liver(np.array([0, 0], np.uint8))
    (False, True)
    """
    return bool((labels == LIVER).any()) or not lesion_mask(labels).any()


def bounding_box(*masks: NDArray[np.generic]) -> Box:
    """The smallest box around all non-zero voxels of several masks; empty if there are none.

    >>> bounding_box(np.array([0, 0, 1, 1, 0]))
    (slice(2, 4, None),)
    """
    box = []
    for axis in range(masks[0].ndim):
        others = tuple(other for other in range(masks[0].ndim) if other != axis)
        hit = np.flatnonzero(np.any([mask.any(axis=others) for mask in masks], axis=0))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1) if len(hit) else slice(0, 0))
    return tuple(box)


def cropped(pred: NDArray[Value], gt: NDArray[Value]) -> tuple[NDArray[Value], NDArray[Value]]:
    """Two arrays cut to the smallest box around all non-zero voxels of both.

    Raises:
        DatasetError: the shapes differ.
    """
    check_same_shape(pred, gt)
    box = bounding_box(pred, gt)
    return pred[box], gt[box]


def check_same_shape(pred: NDArray[np.generic], gt: NDArray[np.generic]) -> None:
    """Raise a DatasetError unless both arrays have the same shape."""
    if pred.shape != gt.shape:
        raise DatasetError(f"prediction {pred.shape} and reference {gt.shape} differ in shape")


_NONE = Overlap(0, 0, 0)
