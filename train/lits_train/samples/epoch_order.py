"""The slices of an epoch, their order and their seeds: pure functions of a run's seed."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from lits_train.data.cases import Case
from lits_train.settings.recipe import Recipe

OTHER_SLICE, LIVER_SLICE, LESION_SLICE = 0, 1, 2
"""Kinds of slices: without liver; with liver but no marked lesion; with a marked lesion."""


def slice_kinds(cases: Sequence[Case]) -> NDArray[np.uint8]:
    """Kind of every slice of the concatenated cases; never `LESION_SLICE` in a liver-only case."""
    kinds = [np.zeros(0, np.uint8)]
    for case in cases:
        liver = case.label_counts[:, 1:].any(axis=1)
        lesion = (case.label_counts[:, 2] > 0) & (not case.liver_only)
        kind = np.where(lesion, LESION_SLICE, np.where(liver, LIVER_SLICE, OTHER_SLICE))
        kinds.append(kind.astype(np.uint8))
    return np.concatenate(kinds)


def slice_owners(cases: Sequence[Case]) -> NDArray[np.intp]:
    """Index of the case of every slice of the concatenated cases."""
    return np.repeat(np.arange(len(cases)), [case.slices for case in cases])


def epoch_order(
    kinds: NDArray[np.uint8],
    recipe: Recipe,
    seed: int,
    epoch: int,
    owners: NDArray[np.intp] | None = None,
) -> list[int]:
    """Indices of the slices of an epoch, in order.

    Of `recipe.epoch_slices` (0: as many as there are), `lesion_share` are slices with a lesion and
    `liver_share` slices with liver but no lesion. The rest, and shares without any such slice, are
    sampled from all slices. A slice is repeated only once all of its kind (with `case_balance`, of
    its kind and case) have been used. Without shares and `epoch_slices`, every slice occurs once.

    Args:
        kinds: from `slice_kinds`.
        recipe: its shares and `epoch_slices`.
        seed: of the run, not negative.
        epoch: from 1.
        owners: from `slice_owners`; needed for `case_balance`.
    """
    rng = np.random.default_rng((seed, epoch))
    count = recipe.epoch_slices or len(kinds)
    sampled: list[NDArray[np.intp]] = []
    for kind, share in ((LESION_SLICE, recipe.lesion_share), (LIVER_SLICE, recipe.liver_share)):
        pool = np.flatnonzero(kinds == kind)
        if not len(pool):
            continue
        wanted = round(share * count)
        if recipe.case_balance and owners is not None:
            sampled.append(_sample_by_case(pool, owners[pool], wanted, recipe.case_balance, rng))
        else:
            sampled.append(_sample(pool, wanted, rng))
    rest = max(count - sum(map(len, sampled)), 0)
    sampled.append(_sample(np.arange(len(kinds)), rest, rng))
    order: list[int] = rng.permutation(np.concatenate(sampled))[:count].tolist()
    return order


def _sample_by_case(
    pool: NDArray[np.intp],
    owners: NDArray[np.intp],
    count: int,
    balance: float,
    rng: np.random.Generator,
) -> NDArray[np.intp]:
    """`count` slices of the pool, distributed over cases as `case_balance` says."""
    cases, sizes = np.unique(owners, return_counts=True)
    parts = sizes ** (1 - balance)
    ends = np.floor(np.cumsum(parts) / parts.sum() * count + rng.random())  # unbiased rounding
    ends[-1] = count
    counts = np.diff(ends, prepend=0).astype(int)
    sampled = [_sample(pool[owners == case], n, rng) for case, n in zip(cases, counts, strict=True)]
    return np.concatenate(sampled)


def _sample(pool: NDArray[np.intp], count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """`count` slices of the pool: whole permutations, and the start of another."""
    rounds = -(-count // len(pool))
    return np.concatenate([pool[:0], *(rng.permutation(pool) for _ in range(rounds))])[:count]


def epoch_steps(recipe: Recipe, slices: int) -> int:
    """Steps of an epoch: full batches, or one smaller batch if there are too few slices."""
    return max((recipe.epoch_slices or slices) // recipe.batch_size, 1)


def sample_seeds(seed: int, step: int, positions: Sequence[int]) -> list[int]:
    """Seeds, below 2 ** 63, of the samples at positions of a step's global batch."""
    states = (np.random.SeedSequence((seed, step, position)) for position in positions)
    return [int(state.generate_state(1, np.uint64)[0]) >> 1 for state in states]


class EpochBatches(Sampler[list[int]]):
    """Batches of one process: its share of every global batch."""

    def __init__(
        self,
        kinds: NDArray[np.uint8],
        recipe: Recipe,
        seed: int,
        rank: int = 0,
        size: int = 1,
        owners: NDArray[np.intp] | None = None,
    ) -> None:
        self.kinds, self.recipe, self.seed, self.owners = kinds, recipe, seed, owners
        self.rank, self.size = rank, size
        self.steps = epoch_steps(recipe, len(kinds))
        self._batches: list[list[int]] = []
        self._first = 0

    def start(self, epoch: int, first: int) -> None:
        """Set the epoch, from 1, and the batch to start with, from 0."""
        order = epoch_order(self.kinds, self.recipe, self.seed, epoch, self.owners)
        width = self.recipe.batch_size
        self._batches = [order[i * width : (i + 1) * width] for i in range(self.steps)]
        self._first = first

    def whole_batch(self, position: int) -> list[int]:
        """A global batch of the epoch, for all processes."""
        return self._batches[position]

    def __iter__(self) -> Iterator[list[int]]:
        return iter([batch[self.rank :: self.size] for batch in self._batches[self._first :]])

    def __len__(self) -> int:
        return len(self._batches) - self._first
