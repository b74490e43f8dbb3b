"""Slices that cannot be read while a run goes on: left out, replaced, and told of at the end."""

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
"""Of one draw; a case with so many slices in a row that cannot be read may be gone as a whole."""
_SHOWN = 12


class Unreadable(NamedTuple):
    """A slice that could not be read."""

    case_id: str
    slice: int
    reason: str


class Loaded(NamedTuple):
    """A batch, and what could not be read for it."""

    samples: Sample | None
    """None where not one slice of the batch could be read."""
    unreadable: list[Unreadable]
    whole: bool
    """Whether there is a sample for every slice that was asked for."""


class ReadableSlices(Dataset[tuple[Sample | None, list[Unreadable]]]):
    """The slices of a data set, with those that cannot be read told of instead of raised.

    In place of a slice another of its kind comes, drawn from a seed that is the slice's own: the
    same one in each process and after each resumption, as long as the same files are damaged.
    """

    def __init__(self, dataset: SliceDataset, kinds: NDArray[np.uint8] | None) -> None:
        """Wrap a data set.

        Args:
            dataset: of the slices.
            kinds: from `slice_kinds`, for those that come in place of others; None: none do.
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
        """The slice itself, then others of its kind, then any; of a lost case only a few."""
        yield item
        if self.kinds is None:
            return
        rng = np.random.default_rng(item)
        same = rng.permutation(np.flatnonzero(self.kinds == self.kinds[item]))
        other = rng.permutation(np.flatnonzero(self.kinds != self.kinds[item]))
        passed_over = []
        for candidate in np.concatenate([same, other]).tolist():
            case_id = self.dataset.cases[self.dataset.index[candidate][0]].case_id
            if candidate == item:
                continue
            if sum(case_id == one.case_id for one in unreadable) < _TRIES_IN_A_CASE:
                yield candidate
            else:
                passed_over.append(candidate)
        yield from passed_over


def loaded(items: Sequence[tuple[Sample | None, list[Unreadable]]]) -> Loaded:
    """A batch of what `ReadableSlices` gave."""
    samples = [sample for sample, _ in items if sample is not None]
    return Loaded(
        default_collate(samples) if samples else None,
        [one for _, unreadable in items for one in unreadable],
        len(samples) == len(items),
    )


class SkippedSlices:
    """What could not be read since the run began."""

    def __init__(self, reasons: Mapping[str, Mapping[int, str]] | None = None) -> None:
        self.reasons = {case_id: dict(slices) for case_id, slices in (reasons or {}).items()}
        """Why, by case ID and number of the slice."""

    def add(self, unreadable: Iterable[Unreadable]) -> None:
        """Note slices; what is new of them is said, of a case and a reason once."""
        for case_id, number, reason in unreadable:
            known = self.reasons.setdefault(case_id, {})
            if reason not in known.values():
                logger.warning(
                    "case %s, slice %d cannot be read and is left out: %s", case_id, number, reason
                )
            known.setdefault(number, reason)

    def listed(self) -> dict[str, str]:
        """By case ID, which slices were left out and why.

        >>> SkippedSlices({"7": {4: "damaged", 2: "damaged"}}).listed()
        {'7': 'slices 2, 4 were left out: damaged'}
        """
        return {case_id: _listed(slices) for case_id, slices in self.reasons.items()}


def _listed(slices: Mapping[int, str]) -> str:
    numbers = sorted(slices)
    shown = ", ".join(map(str, numbers[:_SHOWN]))
    if len(numbers) > _SHOWN:
        shown += f" and {len(numbers) - _SHOWN} more"
    said = "slice {} was" if len(numbers) == 1 else "slices {} were"
    return f"{said.format(shown)} left out: {slices[numbers[0]]}"
