"""The split of cases into training and validation."""

import logging
from collections.abc import Sequence

import numpy as np

from lits_runtime.errors import DatasetError
from lits_runtime.messages import brief
from lits_train.data.cases import Case
from lits_train.settings.run import RunSettings

logger = logging.getLogger(__name__)


def held_out(cases: Sequence[Case], run: RunSettings) -> tuple[list[Case], list[Case]]:
    """Training and validation cases, by ID, by fold or by fraction.

    All folds of a seed come from the same permutation of the cases: they are disjoint, and together
    contain every case.

    Raises:
        DatasetError: a case to hold out is unusable, none is left to train on, or there are more
            folds than cases.
    """
    if not run.folds and not run.validation_cases:
        return split_cases(cases, run.validation_fraction, run.seed)
    present = [case.case_id for case in cases]
    if run.folds > len(cases):
        raise DatasetError(f"{run.folds} folds of {len(cases)} usable cases: use fewer folds")
    chosen = set(run.validation_cases)
    if unknown := sorted(chosen - set(present)):
        raise DatasetError(
            f"no usable case {', '.join(unknown)} to hold out; usable are {', '.join(present)}"
        )
    if run.folds:
        order = np.random.default_rng(run.seed).permutation(len(cases))
        chosen = {present[index] for index in order[run.fold :: run.folds]}
    training = _to_train_on([case for case in cases if case.case_id not in chosen], run)
    if not training:
        raise DatasetError("all usable cases are held out: none is left to train on")
    return training, [case for case in cases if case.case_id in chosen]


def _to_train_on(cases: list[Case], run: RunSettings) -> list[Case]:
    """Those of the cases that the run names; what it leaves out, or lacks, is logged."""
    if not run.training_cases:
        return cases
    named = set(run.training_cases)
    if unnamed := [case.case_id for case in cases if case.case_id not in named]:
        logger.warning("in neither list of the split, not used: %s", brief(", ".join(unnamed)))
    if absent := sorted(named - {case.case_id for case in cases}):
        logger.warning("no usable case to train on: %s", brief(", ".join(absent)))
    return [case for case in cases if case.case_id in named]


def split_cases(
    cases: Sequence[Case], validation_fraction: float, seed: int
) -> tuple[list[Case], list[Case]]:
    """A random split into training and validation cases, with at least one of each.

    A single case is in both: its scores then show how well the training data were learnt.
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
