"""The search for the liver: slices at a distance are looked at first, and decide what lies between.

Slices between two without any label are background. All others are segmented, so that labels are
those of a segmentation of all slices, less parts that lie between two slices looked at.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lits_runtime.segment.findings import ExaminedSlab
from lits_runtime.system.threads import cancel_and_wait, same_process
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.scan import StoredSlab

MAX_HELD_VOXELS = 2**23
"""Of slices that wait for a look at the next, as stored: 32 slices of 512 x 512. Thinner slices
than this allows are looked at more often, which costs 3 % at most."""
_ROUNDING = 1e-3
"""Steps: 7.4999 mm at 2.5 mm are three slices, whichever way a header rounds."""


@dataclass(frozen=True)
class Found:
    """A slab, and what the search says of it."""

    slab: StoredSlab
    looked_at: ExaminedSlab | None
    """Its result, if it is a slice that was looked at first."""
    left_out: bool
    """It lies between two slices without any label."""


def step_of(geometry: Geometry, search_mm: float) -> int:
    """Slices from one look to the next, so that they are at most `search_mm` apart.

    1 is no search. A scan of which only both ends would be looked at is not searched.

    >>> step_of(Geometry((512, 512, 100), np.diag([1, 1, 2.5, 1])), 20)
    8
    >>> step_of(Geometry((512, 512, 8), np.diag([1, 1, 2.5, 1])), 20)
    1
    """
    slices, height, width = geometry.canonical_shape
    step = int(search_mm / geometry.canonical_spacing_mm[0] + _ROUNDING)
    step = min(step, MAX_HELD_VOXELS // (height * width))
    return step if 1 < step < slices - 1 else 1


def slab_size(step: int, most: int) -> int:
    """Slices of a slab, so that those between two looks make slabs of about one size.

    >>> slab_size(20, 16)
    10
    """
    between = max(1, step - 1)
    return -(-between // -(-between // most))


def searched(labels: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """What a search leaves of the labels of all slices, canonical (slices, height, width).

    >>> searched(np.array([0, 1, 0, 1, 0, 1, 1], np.uint8).reshape(7, 1, 1), 2).ravel()
    array([0, 0, 0, 0, 0, 1, 1], dtype=uint8)
    """
    slices = len(labels)
    left = labels.copy()
    for low, high in pairwise([*range(0, slices - 1, step), slices - 1]):
        if not labels[low].any() and not labels[high].any():
            left[low:high] = 0
    return left


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
        self._slices, height, width = geometry.canonical_shape
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
        """The slabs of `Scan.slabs` with `apart=step`, in order, as soon as it is known of each.

        Closing the generator waits for looks under way.
        """
        try:
            for slab in slabs:
                self._line.append(slab)
                self._held += slab.stop - slab.start
                if self._is_looked_at(slab):
                    self._looks.append(self._pool.submit(self._look, slab))
                while self._looks and (self._held > self._most or self._looks[0].done()):
                    yield self._next()
            while self._line:
                yield self._next()
        finally:
            cancel_and_wait(self._looks, self._process)

    def _is_looked_at(self, slab: StoredSlab) -> bool:
        alone = slab.stop - slab.start == 1
        return alone and (slab.start % self._step == 0 or slab.stop == self._slices)

    def _next(self) -> Found:
        """The first in line; the next look, which may be at itself, is under way."""
        same_process(self._process)
        found, slab = self._looks[0].result(), self._line.popleft()
        self._held -= slab.stop - slab.start
        liver = bool(found.result.labels.any())
        if slab.start != found.start:
            return Found(slab, None, left_out=not (self._liver_before or liver))
        self._looks.popleft()
        self._liver_before = liver
        return Found(slab, found, left_out=False)
