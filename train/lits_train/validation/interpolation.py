"""How far apart the slices may be that a model sees, by what that costs on validation cases.

The distance is the widest tried at which, over the cases that it changes and before clean-up, the
mean Dice of no class falls by more than 0.001, and of twenty lesions found at most one is lost.
Fewer than five such cases allow nothing.
"""

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from lits_runtime.labels import LABEL_VALUES, MASKS
from lits_runtime.segment.slabs.inference import SlabResult, labels_from
from lits_runtime.segment.slabs.interpolation import labels_between
from lits_runtime.segment.slabs.liver_search import slices_within
from lits_runtime.volumes.geometry import Geometry
from lits_train.validation.case_scores import CaseScores

INTERPOLATION_MM = (2.0, 3.0, 4.0, 5.0, 6.0)
"""Distances that are compared with none."""
MOST_FALL = 0.001
"""Of a class's mean Dice over the cases that a distance changes."""
MOST_LOST = 0.05
"""Of the lesions found. Few validation cases hold more than some dozens: one of them is noise."""
LEAST_CASES = 5
"""That a distance must change to be chosen."""


def changes(geometry: Geometry) -> bool:
    """Whether any distance leaves slices out of a case."""
    return slices_within(geometry, INTERPOLATION_MM[-1]) > 1


def choose_interpolation(cases: Sequence[CaseScores]) -> float:
    """The distance to use; 0: every slice goes through the model.

    Args:
        cases: before clean-up, without interpolation and with each of `INTERPOLATION_MM`.
    """
    widest = 0.0
    for candidate, distance_mm in enumerate(INTERPOLATION_MM, 1):
        changed = [case for case in cases if not case.same(0, candidate)]
        if _costs(changed, candidate):
            break
        widest = distance_mm if len(changed) >= LEAST_CASES else widest
    return widest


def _costs(cases: Sequence[CaseScores], candidate: int) -> bool:
    for name in MASKS:
        falls = [
            before - after
            for case in cases
            if (before := case.dice(0)[name]) is not None
            and (after := case.dice(candidate)[name]) is not None
        ]
        if falls and float(np.mean(falls)) > MOST_FALL:
            return True
    found = [sum(case.lesions_found(index) for case in cases) for index in (0, candidate)]
    return found[1] < (1 - MOST_LOST) * found[0]


class CaseLabels:
    """Labels of a case of which the model saw every slice or every n-th, slab by slab.

    Args:
        geometry: of the case.
        interpolation_mm: how far apart slices may be; 0: all are seen.
        classes: of the model.
        thresholds: of the classes.
    """

    def __init__(
        self,
        geometry: Geometry,
        interpolation_mm: float,
        classes: Sequence[str],
        thresholds: Sequence[float],
    ) -> None:
        self._stride = slices_within(geometry, interpolation_mm)
        self._last = geometry.canonical_shape[0] - 1
        self._thresholds = thresholds
        self._values = [LABEL_VALUES[name] for name in classes]
        self._slabs: deque[range] = deque()
        self._done: dict[int, NDArray[np.uint8]] = {}
        """Slices whose slab is not complete."""
        self._before: tuple[int, SlabResult] | None = None

    def add(
        self, start: int, probability: NDArray[np.float32]
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """The slabs that are complete with one more.

        Args:
            start: first slice of a slab; slabs come in order, from either end.
            probability: (n, classes, height, width), as if the model saw all.
        """
        numbers = range(start, start + len(probability))
        self._slabs.append(numbers)
        before = self._before
        descends = numbers[-1] == self._last if before is None else before[0] > start
        for number in reversed(numbers) if descends else numbers:
            if number % self._stride and number != self._last:
                continue
            one = probability[number - start : number - start + 1]
            labels = labels_from(one, self._thresholds, self._values)
            self._see(number, SlabResult(labels, one))
        while self._slabs and all(number in self._done for number in self._slabs[0]):
            slab = self._slabs.popleft()
            yield slab.start, np.stack([self._done.pop(number) for number in slab])

    def _see(self, number: int, result: SlabResult) -> None:
        self._done[number] = result.labels[0]
        if self._before is not None:
            (low, first), (high, last) = sorted(
                [self._before, (number, result)], key=lambda one: one[0]
            )
            if high - low > 1:
                count = high - low - 1
                found = labels_between(first, last, count, self._thresholds, self._values)
                self._done |= zip(range(low + 1, high), found, strict=True)
        self._before = number, result
