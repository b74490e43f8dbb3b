"""Slices that become unreadable during a run: skipped, replaced and reported."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, default_collate

from lits_runtime.errors import LitsError
from lits_runtime.messages import brief
from lits_train.samples.dataset import Sample, SliceDataset

logger = logging.getLogger(__name__)

_TRIES_IN_A_CASE = 3
"""Unreadable slices after which a case is avoided: it may be lost as a whole."""
_SHOWN = 12


class Unreadable(NamedTuple):
    """A slice that could not be read."""

    case_id: str
    slice: int
    reason: str


class Loaded(NamedTuple):
    """A batch, and the slices that could not be read for it."""

    samples: Sample | None
    """None if no slice of the batch could be read."""
    unreadable: list[Unreadable]
    whole: bool
    """Whether there is a sample for every requested slice."""


class ReadableSlices(Dataset[tuple[Sample | None, list[Unreadable]]]):
    """The slices of a data set, where unreadable ones are replaced and reported, not raised.

    The substitute is of the same kind and chosen with the slice's index as seed, so that all
    processes and resumed runs choose the same one as long as the same files are damaged.
    """

    def __init__(self, dataset: SliceDataset, kinds: NDArray[np.uint8] | None) -> None:
        """Wrap a data set.

        Args:
            dataset: of the slices.
            kinds: from `slice_kinds`, for the choice of substitutes; None: no substitutes.
        """
        self.dataset, self.kinds = dataset, kinds

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, item: int) -> tuple[Sample | None, list[Unreadable]]:
        unreadable: list[Unreadable] = []
        for candidate in self._candidates(item, unreadable):
            try:
                return self.dataset[candidate], unreadable
            except (LitsError, OSError) as error:
                case, number = self.dataset.index[candidate]
                case_id = self.dataset.cases[case].case_id
                unreadable.append(Unreadable(case_id, number, brief(error)))
        return None, unreadable

    def _candidates(self, item: int, unreadable: Sequence[Unreadable]) -> Iterator[int]:
        """The slice, then others of its kind, then any; those of a case that seems lost last."""
        yield item
        if self.kinds is None:
            return
        rng = np.random.default_rng(item)
        same = rng.permutation(np.flatnonzero(self.kinds == self.kinds[item]))
        other = rng.permutation(np.flatnonzero(self.kinds != self.kinds[item]))
        postponed = []
        for candidate in np.concatenate([same, other]).tolist():
            case_id = self.dataset.cases[self.dataset.index[candidate][0]].case_id
            if candidate == item:
                continue
            if sum(case_id == one.case_id for one in unreadable) < _TRIES_IN_A_CASE:
                yield candidate
            else:
                postponed.append(candidate)
        yield from postponed


def loaded(items: Sequence[tuple[Sample | None, list[Unreadable]]]) -> Loaded:
    """Collate items of `ReadableSlices` into a batch."""
    samples = [sample for sample, _ in items if sample is not None]
    return Loaded(
        default_collate(samples) if samples else None,
        [one for _, unreadable in items for one in unreadable],
        len(samples) == len(items),
    )


class SkippedSlices:
    """Slices that could not be read since the run started."""

    def __init__(self, reasons: Mapping[str, Mapping[int, str]] | None = None) -> None:
        self.reasons = {case_id: dict(slices) for case_id, slices in (reasons or {}).items()}
        """Reasons by case ID and slice number."""

    def add(self, unreadable: Iterable[Unreadable]) -> None:
        """Note slices, and log each reason once per case."""
        for case_id, number, reason in unreadable:
            known = self.reasons.setdefault(case_id, {})
            if reason not in known.values():
                logger.warning(
                    "case %s, slice %d cannot be read and is left out: %s", case_id, number, reason
                )
            known.setdefault(number, reason)

    def listed(self) -> dict[str, str]:
        """By case ID, the slices that were skipped, and why.

        >>> SkippedSlices({"7": {4: "damaged", 2: "damaged"}}).listed()
        {'7': 'slices 2, 4 were left out: damaged'}
        """
        return {case_id: _listed(slices) for case_id, slices in self.reasons.items()}


def _listed(slices: Mapping[int, str]) -> str:
    numbers = sorted(slices)
    shown = ", ".join(map(str, numbers[:_SHOWN]))
    if len(numbers) > _SHOWN:
        shown += f" and {len(numbers) - _SHOWN} more"
    subject = f"slice {shown} was" if len(numbers) == 1 else f"slices {shown} were"
    return f"{subject} left out: {slices[numbers[0]]}"
