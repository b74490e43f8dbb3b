from pathlib import Path

import numpy as np
import pytest

from lits_train.data.cases import Case
from lits_train.samples.epoch_order import (
    LESION_SLICE,
    LIVER_SLICE,
    OTHER_SLICE,
    EpochBatches,
    epoch_order,
    sample_seeds,
    slice_kinds,
    slice_owners,
)
from lits_train.settings.recipe import DEFAULT

KINDS = np.array([OTHER_SLICE] * 20 + [LIVER_SLICE] * 10 + [LESION_SLICE] * 3, np.uint8)
PLAIN = DEFAULT.override(lesion_share=0.0, liver_share=0.0, batch_size=5)


def case(counts: list[tuple[int, int, int]], liver_only: bool = False) -> Case:
    counted = np.array(counts, np.int64)
    return Case("1", Path("v"), Path("s"), liver_only, label_counts=counted)


def test_kinds_of_slices() -> None:
    counts = [(9, 0, 0), (8, 1, 0), (8, 0, 1), (7, 1, 1)]
    assert slice_kinds([case(counts)]).tolist() == [
        OTHER_SLICE,
        LIVER_SLICE,
        LESION_SLICE,
        LESION_SLICE,
    ]
    assert slice_kinds([case(counts, True)]).tolist() == [
        OTHER_SLICE,
        LIVER_SLICE,
        LIVER_SLICE,
        LIVER_SLICE,
    ]
    assert len(slice_kinds([case(counts), case(counts)])) == 8


def test_without_shares_each_slice_comes_once_in_an_order_of_seed_and_epoch() -> None:
    first = epoch_order(KINDS, PLAIN, seed=3, epoch=1)
    assert sorted(first) == list(range(33))
    assert first == epoch_order(KINDS, PLAIN, seed=3, epoch=1)
    assert first != epoch_order(KINDS, PLAIN, seed=3, epoch=2)
    assert first != epoch_order(KINDS, PLAIN, seed=4, epoch=1)
    assert first != list(range(33))


def test_shares_of_lesion_and_liver() -> None:
    recipe = PLAIN.override(epoch_slices=40, lesion_share=0.4, liver_share=0.5)
    order = epoch_order(KINDS, recipe, seed=0, epoch=1)
    assert len(order) == 40
    times = np.bincount(order, minlength=33)
    kinds = KINDS[order]
    assert 16 <= (kinds == LESION_SLICE).sum() <= 16 + 4
    assert 20 <= (kinds == LIVER_SLICE).sum() <= 20 + 4
    assert times[KINDS == LESION_SLICE].min() >= 16 // 3  # repeated evenly
    assert times[KINDS == LIVER_SLICE].min() >= 2
    assert kinds[:20].tolist().count(LESION_SLICE) not in (0, 16)  # mixed


@pytest.mark.parametrize(
    ("balance", "parts"), [(0.0, (90, 9, 1)), (0.5, (70, 22, 7)), (1.0, (33, 33, 33))]
)
def test_cases_are_balanced(balance: float, parts: tuple[int, ...]) -> None:
    sizes = (90, 9, 1)
    cases = [case([(0, 0, 1)] * size) for size in sizes]
    kinds, owners = slice_kinds(cases), slice_owners(cases)
    assert owners.tolist() == [0] * 90 + [1] * 9 + [2]
    recipe = PLAIN.override(epoch_slices=100, lesion_share=1.0, case_balance=balance)
    order = epoch_order(kinds, recipe, 0, 1, owners)
    assert len(order) == 100
    assert np.bincount(owners[order]).tolist() == pytest.approx(parts, abs=1)
    times = np.bincount(order, minlength=100)
    for one in range(3):
        of_case = times[owners == one]
        assert of_case.max() - of_case.min() <= 1, "no slice again before all of its case"


def test_a_share_of_slices_that_are_not_there_is_drawn_from_all() -> None:
    recipe = PLAIN.override(lesion_share=0.9)
    order = epoch_order(np.zeros(6, np.uint8), recipe, seed=0, epoch=1)
    assert sorted(order) == [0, 1, 2, 3, 4, 5]


def test_seeds_differ_by_run_step_and_position_and_repeat() -> None:
    seeds = [
        seed for run in (0, 1) for step in (0, 1, 2) for seed in sample_seeds(run, step, range(4))
    ]
    assert len(set(seeds)) == 24
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert sample_seeds(1, 2, [3]) == seeds[-1:]


@pytest.mark.parametrize("size", [2, 3])
def test_processes_share_each_batch_and_a_resumed_epoch_goes_on(size: int) -> None:
    alone = EpochBatches(KINDS, PLAIN, seed=1)
    alone.start(epoch=2, first=0)
    whole = list(alone)
    assert len(whole) == len(alone) == 33 // 5
    ranks = [EpochBatches(KINDS, PLAIN, 1, rank, size) for rank in range(size)]
    for order in ranks:
        order.start(epoch=2, first=0)
    for batch, shares in zip(whole, zip(*ranks, strict=True), strict=True):
        assert sorted(batch) == sorted(index for share in shares for index in share)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    alone.start(epoch=2, first=4)
    assert list(alone) == whole[4:]
    assert alone.whole_batch(4) == whole[4]


def test_few_slices_make_one_small_batch() -> None:
    order = EpochBatches(KINDS[:3], PLAIN, seed=0)
    order.start(1, 0)
    assert [sorted(batch) for batch in order] == [[0, 1, 2]]
