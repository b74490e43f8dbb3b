"""Which cases a run trains on and which it is scored on."""

from collections.abc import Sequence

import numpy as np

from lits_runtime.errors import DatasetError
from lits_train.data.cases import Case
from lits_train.settings.run import RunSettings


def held_out(cases: Sequence[Case], run: RunSettings) -> tuple[list[Case], list[Case]]:
    """Training and validation cases, by IDs, by fold, or by fraction.

    Folds are dealt from one seeded order of the cases, so that the folds of a seed are disjoint and
    together hold every case.

    Raises:
        DatasetError: a case to hold out is not usable, none is left to train on, or there are more
            folds than cases.
    """
    if not run.folds and not run.validation_cases:
        return split_cases(cases, run.validation_fraction, run.seed)
    present = [case.case_id for case in cases]
    if run.folds > len(cases):
        raise DatasetError(f"{run.folds} folds of {len(cases)} usable cases: use fewer")
    chosen = set(run.validation_cases)
    if unknown := sorted(chosen - set(present)):
        raise DatasetError(
            f"no usable case {', '.join(unknown)} to hold out; there are {', '.join(present)}"
        )
    if run.folds:
        order = np.random.default_rng(run.seed).permutation(len(cases))
        chosen = {present[index] for index in order[run.fold :: run.folds]}
    training = [case for case in cases if case.case_id not in chosen]
    if not training:
        raise DatasetError("every usable case is held out: none is left to train on")
    return training, [case for case in cases if case.case_id in chosen]


def split_cases(
    cases: Sequence[Case], validation_fraction: float, seed: int
) -> tuple[list[Case], list[Case]]:
    """Training and validation cases, drawn by case with a seed; at least one of each.

    A single case cannot be split: then both lists hold it, and scores say how well it was learnt.
    """
    if len(cases) < 2:
        return list(cases), list(cases)
    order = np.random.default_rng(seed).permutation(len(cases))
    count = min(max(round(len(cases) * validation_fraction), 1), len(cases) - 1)
    chosen = set(order[:count].tolist())
    return (
        [case for index, case in enumerate(cases) if index not in chosen],
        [case for index, case in enumerate(cases) if index in chosen],
    )
