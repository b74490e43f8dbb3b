"""Overlap of two masks in voxel counts, from which Dice, VOE and RVD follow and can be pooled."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lits_runtime.errors import DatasetError

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Overlap:
    """Voxels of two masks on one grid, and the scores of Heimann et al. (2009) made of them."""

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
        """Volumetric overlap error, 1 - IoU: 0 is perfect, 1 is apart."""
        return 1 - self.iou

    @property
    def rvd(self) -> float:
        """Relative volume difference |P| / |R| - 1: positive where too much was predicted.

        0 where both are empty, infinite where only the reference is.
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
    """The overlap of all cases taken as one volume; its Dice is the challenge's "global" one."""
    counts = [(o.intersection, o.predicted, o.reference) for o in overlaps]
    return Overlap(*(sum(column) for column in zip(*counts, strict=True))) if counts else _NONE


def tumour_burden(labels: NDArray[np.uint8]) -> float:
    """Lesion voxels over liver voxels, lesions included in the liver.

    Not a number where no voxel has the liver's own label 1: a mask of lesions alone knows of no
    liver to relate them to.

    >>> tumour_burden(np.array([0, 1, 1, 1, 2], np.uint8))
    0.25
    """
    liver, lesion = int(np.count_nonzero(labels == 1)), int(np.count_nonzero(labels == 2))
    return lesion / (liver + lesion) if liver else float("nan")


def knows_liver(labels: NDArray[np.uint8]) -> bool:
    """Whether a mask can tell of the liver: one of lesions alone cannot.

    >>> knows_liver(np.array([0, 2], np.uint8)), knows_liver(np.array([0, 0], np.uint8))
    (False, True)
    """
    return bool((labels == 1).any()) or not (labels == 2).any()


def check_same_shape(pred: NDArray[np.generic], gt: NDArray[np.generic]) -> None:
    """Raise a DatasetError unless both arrays have the same shape."""
    if pred.shape != gt.shape:
        raise DatasetError(f"prediction {pred.shape} and reference {gt.shape} differ in shape")


_NONE = Overlap(0, 0, 0)
