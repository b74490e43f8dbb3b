"""Scores of validation cases as text."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from lits_runtime.labels import MASKS
from lits_train.settings.inference import Inference
from lits_train.validation.case_scores import CaseScores
from lits_train.validation.choose import objective
from lits_train.validation.interpolation import INTERPOLATION_MM
from lits_train.validation.lesions_found import SIZES_ML, added_up

SIZE_NAMES = tuple(
    f"over {low:g}" if math.isinf(high) else f"{low:g} to {high:g}" for low, high in SIZES_ML
)


def case_table(cases: Sequence[CaseScores], candidate: int) -> str:
    """Every case under one candidate, and the lesions found over all of them."""
    rows = [["case", "liver Dice", "lesion Dice", "false ml", "lesions found", "lesions right"]]
    for case in cases:
        dice, counts = case.dice(candidate), case.counts[candidate]
        known = "lesion" in case.classes
        rows.append(
            [
                case.case_id + ("" if case.full_resolution else " (working size)"),
                _number(dice["liver"], 3),
                _number(dice["lesion"], 3),
                _number(case.false_ml(candidate), 1),
                _share(counts.recall) if known else "-",
                _share(counts.precision) if known else "-",
            ]
        )
    return "\n".join(["", *_aligned(rows), *_aligned(size_rows(cases, candidate))])


def size_rows(cases: Sequence[CaseScores], candidate: int) -> list[list[str]]:
    """Lesions found and right by their volume, with a heading."""
    known = [case.counts[candidate] for case in cases if "lesion" in case.classes]
    found, right = (added_up([getattr(one, name) for one in known]) for name in _KINDS)
    return [
        ["lesions of ml", *SIZE_NAMES],
        ["found", *(f"{part}/{whole}" for part, whole in found)],
        ["right", *(f"{part}/{whole}" for part, whole in right)],
    ]


def choice_table(cases: Sequence[CaseScores], candidates: Sequence[Inference], chosen: int) -> str:
    """What was compared: every clean-up at the chosen thresholds, and every threshold with it."""
    mine = candidates[chosen]
    rows = [["setting", "liver Dice", "lesion Dice", "false ml", "score"]]
    for index, one in enumerate(candidates):
        same_cleanup = replace(one, thresholds=mine.thresholds) == mine
        if same_cleanup or one.thresholds == mine.thresholds:
            rows.append(
                [
                    one.describe() + (" (chosen)" if index == chosen else ""),
                    *(_number(mean_dice(cases, index, name), 4) for name in ("liver", "lesion")),
                    _number(mean(case.false_ml(index) for case in cases), 2),
                    f"{objective(cases, index):.4f}",
                ]
            )
    return "\n".join(["", *_aligned(rows)])


def interpolation_table(cases: Sequence[CaseScores]) -> str:
    """What each distance of the interpolation changes, over the cases that it changes."""
    rows = [["interpolation", "cases", "liver Dice", "lesion Dice", "lesions found"]]
    for candidate, distance_mm in enumerate(INTERPOLATION_MM, 1):
        changed = [case for case in cases if not case.same(0, candidate)]
        found = [sum(case.lesions_found(index) for case in changed) for index in (0, candidate)]
        dice = [
            [_number(mean_dice(changed, index, name), 4) for index in (0, candidate)]
            for name in MASKS
        ]
        pairs = [f"{before} -> {after}" for before, after in [*dice, map(str, found)]]
        rows.append([f"{distance_mm:g} mm", str(len(changed)), *pairs])
    return "\n".join(["", *_aligned(rows)])


def mean_dice(cases: Sequence[CaseScores], candidate: int, name: str) -> float | None:
    """Mean Dice of a class over the cases that show it."""
    return mean(case.dice(candidate)[name] for case in cases)


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of those that are not None."""
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


_KINDS = ("recall", "precision")


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _share(counts: Sequence[Sequence[int]]) -> str:
    return "/".join(str(sum(pair[index] for pair in counts)) for index in (0, 1))


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
