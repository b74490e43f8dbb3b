"""The search for the liver: slices at a distance are looked at first, and decide what lies between.

Slices between two without liver are background, and all others are segmented: labels are those of
a segmentation of all slices, less what lies between two slices that show next to nothing.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lits_runtime.segment.slabs.findings import ExaminedSlab
from lits_runtime.system.threads import cancel_and_wait, same_process
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.scan import StoredSlab

LEAST_MM2 = 100.0
"""Of liver and lesions together, in a slice that shows liver: models mark specks anywhere."""
MAX_HELD_VOXELS = 2**22
"""Of slices that wait for a look at the next, as stored: 16 slices of 512 x 512. One slice in 16
is looked at, however thin they are."""
_ROUNDING = 1e-3
"""Steps: 7.4999 mm at 2.5 mm are three slices, whichever way a header rounds."""


@dataclass(frozen=True)
class Found:
    """A slab, and what the search says of it."""

    slab: StoredSlab
    looked_at: ExaminedSlab | None
    """Its result, if it is a slice that was looked at first."""
    left_out: bool
    """It lies between two slices without liver."""


def slices_within(geometry: Geometry, distance_mm: float) -> int:
    """How many slices on the next one may be, so that both are at most a distance apart.

    1 if it is the neighbour, or if only both ends of the scan would be left.

    >>> slices_within(Geometry((512, 512, 100), np.diag([1, 1, 1.25, 1])), 4)
    3
    """
    slices, height, width = geometry.canonical_shape
    count = int(distance_mm / geometry.canonical_spacing_mm[0] + _ROUNDING)
    count = min(count, MAX_HELD_VOXELS // (height * width))
    return count if 1 < count < slices - 1 else 1


def step_of(geometry: Geometry, search_mm: float, stride: int = 1) -> int:
    """Slices from one look to the next, so that they are at most `search_mm` apart.

    1 is no search.

    Args:
        geometry: of the scan.
        search_mm: of the model.
        stride: slices from one that the model may see to the next; looks are at some of these.

    >>> step_of(Geometry((512, 512, 100), np.diag([1, 1, 2.5, 1])), 20)
    8
    >>> step_of(Geometry((512, 512, 100), np.diag([1, 1, 2.5, 1])), 20, stride=3)
    6
    >>> step_of(Geometry((512, 512, 8), np.diag([1, 1, 2.5, 1])), 20)
    1
    """
    step = slices_within(geometry, search_mm) // stride * stride
    return step if step > stride else 1


def slab_size(step: int, most: int) -> int:
    """Slices of a slab, so that those between two looks make slabs of about one size.

    >>> slab_size(20, 16)
    10
    """
    between = max(1, step - 1)
    return -(-between // -(-between // most))


def shows_liver(labels: NDArray[np.uint8], geometry: Geometry) -> bool:
    """Whether an axial slice, (height, width) or (1, height, width), shows liver or lesions."""
    _, row_mm, column_mm = geometry.canonical_spacing_mm
    return float(np.count_nonzero(labels) * (row_mm * column_mm)) >= LEAST_MM2


def searched(
    labels: NDArray[np.uint8], geometry: Geometry, search_mm: float, stride: int = 1
) -> NDArray[np.uint8]:
    """What a search leaves of the labels of all slices, canonical (slices, height, width).

    `search_mm` and `stride` are those of `step_of`.

    >>> labels = np.array([0, 1, 0, 0, 0, 1, 1], np.uint8).reshape(7, 1, 1)
    >>> searched(labels, Geometry((1, 1, 7), np.diag([10, 10, 5, 1])), 10).ravel()
    array([0, 0, 0, 0, 0, 1, 1], dtype=uint8)
    """
    left = labels.copy()
    for low, high in _left_out(labels, geometry, step_of(geometry, search_mm, stride)):
        left[low:high] = 0
    return left


def slices_looked_at(labels: NDArray[np.uint8], geometry: Geometry, search_mm: float) -> int:
    """How many slices the model sees in a search, from the labels of all slices."""
    ranges = _left_out(labels, geometry, step_of(geometry, search_mm))
    return len(labels) - sum(high - low for low, high in ranges)


def _left_out(
    labels: NDArray[np.uint8], geometry: Geometry, step: int
) -> Iterator[tuple[int, int]]:
    """Start and stop of the slices between two that are looked at and show no liver."""
    slices = len(labels)
    for low, high in pairwise([*range(0, slices - 1, step), slices - 1]):
        if not any(shows_liver(labels[index], geometry) for index in (low, high)):
            yield low + 1, high


class LiverSearch:
    """Looks at slices of one scan in the threads of a pool, before the slabs between them.

    Args:
        geometry: of the scan.
        step: slices from one look to the next; see `step_of`.
        pool: in which to look.
        look: segments a slice.
    """

    def __init__(
        self,
        geometry: Geometry,
        step: int,
        pool: Executor,
        look: Callable[[StoredSlab], ExaminedSlab],
    ) -> None:
        self._geometry = geometry
        _, height, width = geometry.canonical_shape
        self._most = max(step, MAX_HELD_VOXELS // (height * width))
        self._step, self._pool, self._look = step, pool, look
        self._line: deque[StoredSlab] = deque()
        self._looks: deque[Future[ExaminedSlab]] = deque()
        """At the slices in the line that are looked at."""
        self._held = 0
        """Slices in the line."""
        self._liver_before = False
        self._process = os.getpid()

    def run(self, slabs: Iterable[StoredSlab]) -> Generator[Found, None, None]:
        """The slabs of `Scan.slabs`, in order, as soon as it is known of each.

        Their `apart` is the step or a divisor of it. Closing the generator waits for looks under
        way.
        """
        try:
            for slab in slabs:
                self._line.append(slab)
                self._held += slab.stop - slab.start
                if self._geometry.stands_alone(slab.start, slab.stop, self._step):
                    self._looks.append(self._pool.submit(self._look, slab))
                while self._looks and (self._held > self._most or self._looks[0].done()):
                    yield self._next()
            while self._line:
                yield self._next()
        finally:
            cancel_and_wait(self._looks, self._process)

    def _next(self) -> Found:
        """The first in line; the next look, which may be at itself, is under way."""
        same_process(self._process)
        found, slab = self._looks[0].result(), self._line.popleft()
        self._held -= slab.stop - slab.start
        liver = shows_liver(found.result.labels, self._geometry)
        if slab.start != found.start:
            return Found(slab, None, left_out=not (self._liver_before or liver))
        self._looks.popleft()
        self._liver_before = liver
        return Found(slab, found, left_out=False)
