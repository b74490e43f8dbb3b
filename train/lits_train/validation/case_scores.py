"""The scores of one case under every candidate, as counts that can be saved and added up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lits_runtime.labels import MASKS
from lits_train.validation.candidates import SEARCH_MM
from lits_train.validation.lesions_found import SIZES_ML

SEARCHES = (0.0, *SEARCH_MM)


@dataclass(frozen=True)
class Counts:
    """A case under one candidate."""

    voxels: NDArray[np.int64]
    """(searches, classes, 2): voxels predicted, and those of them that are right; the classes are
    liver and lesion, the first search is none."""
    recall: Sequence[Sequence[int]]
    """Reference lesions found, and all, by `SIZES_ML`."""
    precision: Sequence[Sequence[int]]
    """Predicted lesions that are right, and all, by `SIZES_ML`."""


@dataclass(frozen=True)
class CaseScores:
    """A case under every candidate, in their order."""

    case_id: str
    full_resolution: bool
    classes: tuple[str, ...]
    """Those that are scored: predicted by the network and marked in the reference."""
    voxel_ml: float
    reference: tuple[int, int]
    """Voxels of liver, including lesions, and of lesions."""
    counts: tuple[Counts, ...]

    def dice(self, candidate: int, search: int = 0) -> dict[str, float | None]:
        """Dice by class; None for a class that is not scored, and for lesions if there are none."""
        pairs = zip(MASKS, self._voxels(candidate, search), self.reference, strict=True)
        return {
            name: _dice(int(voxels[0]), int(voxels[1]), total)
            if name in self.classes and (total or name == "liver")
            else None
            for name, voxels, total in pairs
        }

    def lesion_ml(self, candidate: int) -> float:
        """Predicted volume of lesions."""
        return int(self._voxels(candidate, 0)[1][0]) * self.voxel_ml

    def false_ml(self, candidate: int) -> float | None:
        """Predicted volume of lesions in a case known to have none; None in all other cases."""
        free = "lesion" in self.classes and not self.reference[1]
        return self.lesion_ml(candidate) if free else None

    def lesions_found(self, candidate: int) -> int:
        """Lesions of the reference that are found."""
        return sum(found for found, _ in self.counts[candidate].recall)

    def same(self, candidate: int, other: int) -> bool:
        """Whether two candidates predict alike, as far as can be told from counts."""
        pair = self._voxels(candidate, 0), self._voxels(other, 0)
        return bool(np.array_equal(*pair))

    def _voxels(self, candidate: int, search: int) -> NDArray[np.int64]:
        voxels: NDArray[np.int64] = self.counts[candidate].voxels[search]
        return voxels

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "case_id": self.case_id,
            "full_resolution": self.full_resolution,
            "classes": list(self.classes),
            "voxel_ml": self.voxel_ml,
            "reference": list(self.reference),
            "counts": [
                {
                    "voxels": one.voxels.tolist(),
                    "recall": [list(pair) for pair in one.recall],
                    "precision": [list(pair) for pair in one.precision],
                }
                for one in self.counts
            ],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "CaseScores":
        """The inverse of `to_json`.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        counts = [
            Counts(np.array(one["voxels"], np.int64), one["recall"], one["precision"])
            for one in content["counts"]
        ]
        if any(one.voxels.shape != (len(SEARCHES), 2, 2) for one in counts) or any(
            np.shape(table) != (len(SIZES_ML), 2)
            for one in counts
            for table in (one.recall, one.precision)
        ):
            raise ValueError("counts of another shape")
        liver, lesion = map(int, content["reference"])
        return cls(
            str(content["case_id"]),
            bool(content["full_resolution"]),
            tuple(map(str, content["classes"])),
            float(content["voxel_ml"]),
            (liver, lesion),
            tuple(counts),
        )


def _dice(predicted: int, right: int, reference: int) -> float:
    total = predicted + reference
    return 2 * right / total if total else 1.0
