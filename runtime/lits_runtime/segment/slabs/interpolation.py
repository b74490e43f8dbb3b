"""Slices between those that the model sees: their labels, interpolated.

Thin slices show little that their neighbours do not. So of a scan that is sampled more finely than
its model asks for, only every n-th slice goes through the model. Between two of these the log-odds
of each class change linearly, pixel by pixel, as in shape-based interpolation with log-odds in
place of distances (Herman et al., IEEE Computer Graphics and Applications 12(3), 1992; Pohl et al.,
Medical Image Analysis 11(5), 2007).
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lits_runtime.segment.slabs.findings import ExaminedSlab
from lits_runtime.segment.slabs.inference import SlabResult, labels_from
from lits_runtime.segment.slabs.liver_search import Found
from lits_runtime.volumes.geometry import Geometry

_CERTAIN = 9.0
"""Largest log-odds, of a probability of 0.9999: larger ones are noise. Half-way between two
opposite certain ones they are exactly 0, on every machine."""


def labels_between(
    low: SlabResult,
    high: SlabResult,
    count: int,
    thresholds: Sequence[float],
    label_values: Sequence[int],
) -> NDArray[np.uint8]:
    """Labels (count, height, width) between two slices that the model saw.

    Only pixels whose label changes are computed: where both ends agree, so does all between.

    Args:
        low: result of the slice below, with probability.
        high: the same of the slice above.
        count: of slices between.
        thresholds: of the classes.
        label_values: of the classes; later classes win.

    >>> low, high = (
    ...     SlabResult(np.full((1, 1, 2), label, np.uint8), np.full((1, 1, 1, 2), p, np.float32))
    ...     for label, p in ((1, 0.9), (0, 0.3))
    ... )
    >>> labels_between(low, high, 3, [0.5], [1])[:, 0, 0]
    array([1, 1, 0], dtype=uint8)
    """
    labels = np.repeat(low.labels, count, axis=0)
    changes = np.flatnonzero(low.labels != high.labels)
    first, last = (_seen(end).reshape(len(thresholds), -1)[:, changes] for end in (low, high))
    found = labels_from(_between(first, last, count), _log_odds(thresholds).tolist(), label_values)
    labels.reshape(count, low.labels.size)[:, changes] = found
    return labels


def probability_between(low: SlabResult, high: SlabResult, count: int) -> NDArray[np.float32]:
    """Probabilities (count, classes, height, width) between two slices that the model saw."""
    log_odds = _between(_seen(low), _seen(high), count)
    probability: NDArray[np.float32] = (1 / (1 + np.exp(-log_odds))).astype(np.float32)
    return probability


def _seen(result: SlabResult) -> NDArray[np.float32]:
    assert result.probability is not None
    one: NDArray[np.float32] = result.probability[0]
    return one


def _between(low: NDArray[Any], high: NDArray[Any], count: int) -> NDArray[np.float64]:
    """Log-odds (count, classes, ...) between the probabilities (classes, ...) of two slices."""
    first, last = _log_odds(low), _log_odds(high)
    parts = np.arange(1, count + 1).reshape(-1, *[1] * low.ndim) / (count + 1)
    log_odds: NDArray[np.float64] = first + parts * (last - first)
    return log_odds


def _log_odds(probability: Any) -> NDArray[np.float64]:
    probability = np.asarray(probability, np.float64)
    with np.errstate(divide="ignore"):  # of 0 and 1
        log_odds = np.log(probability / (1 - probability))
    clipped: NDArray[np.float64] = np.clip(log_odds, -_CERTAIN, _CERTAIN)
    return clipped


@dataclass(frozen=True)
class Stretch:
    """A slice that the model sees, and those since the last such slice, in the order of storage."""

    between: Found | None
    seen: Found
    before: Future[ExaminedSlab] | None
    """The last slice that the model saw; under way before this stretch is."""
    result: Future[ExaminedSlab] = field(default_factory=Future)
    """Of `seen`, for the next stretch."""


def stretches(found: Iterable[Found], geometry: Geometry, stride: int) -> Iterator[Stretch]:
    """Put the slabs of `Scan.slabs` with `apart=stride` together, in their order."""
    between, before = None, None
    for one in found:
        if not geometry.stands_alone(one.slab.start, one.slab.stop, stride):
            between = one
            continue
        stretch = Stretch(between, one, before)
        yield stretch
        between, before = None, stretch.result
