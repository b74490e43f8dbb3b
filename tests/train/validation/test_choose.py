"""The rule by which settings of inference are chosen, on scores made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from lits_train.settings.inference import Inference
from lits_train.validation.candidates import SEARCH_MM, candidates
from lits_train.validation.case_scores import SEARCHES, CaseScores, Counts
from lits_train.validation.choose import choose, objective
from lits_train.validation.tables import case_table, choice_table

PLAIN = Inference((0.5, 0.5))
LARGEST = replace(PLAIN, keep_largest_liver=True)
COMPARED = [PLAIN, LARGEST]


def case(
    right: list[int],
    *,
    lesions: int = 100,
    predicted: int = 100,
    searched: dict[int, int] | None = None,
    name: str = "1",
) -> CaseScores:
    """A case with 100 voxels of 1 ml of liver, all right, and lesion voxels by candidate."""
    counts = []
    for lesion in right:
        voxels = np.tile([[100, 100], [predicted, lesion]], (len(SEARCHES), 1, 1))
        for search, fewer in (searched or {}).items():
            voxels[search:, 0] -= fewer
        counts.append(Counts(voxels.astype(np.int64), [(0, 0)] * 4, [(0, 0)] * 4))
    return CaseScores(name, True, ("liver", "lesion"), 1.0, (100, lesions), tuple(counts))


def test_the_best_mean_dice_is_chosen() -> None:
    cases = [case([50, 60]), case([50, 60]), case([50, 40]), case([50, 60]), case([50, 60])]
    assert objective(cases, 0) == pytest.approx(1.5)
    assert objective(cases, 1) == pytest.approx(1.56)
    assert choose(cases, COMPARED) == (1, replace(LARGEST, search_mm=SEARCH_MM[-1]))


def test_of_two_that_hardly_differ_the_simpler_is_chosen() -> None:
    cases = [case([5000, 5010], lesions=10_000, predicted=10_000)] * 5
    assert choose(cases, COMPARED)[0] == 0


def test_few_cases_choose_nothing() -> None:
    assert choose([case([0, 100])] * 4, COMPARED) == (0, PLAIN)


def test_false_volume_counts_where_there_is_no_lesion() -> None:
    free = case([0, 0], lesions=0, predicted=10)
    assert free.dice(0) == {"liver": 1.0, "lesion": None}
    assert free.false_ml(0) == 10
    assert case([1, 1]).false_ml(0) is None
    assert objective([case([50, 50]), free], 0) == pytest.approx(1.5 - 0.1)
    wild = case([0, 0], lesions=0, predicted=10_000)
    assert objective([case([50, 50]), wild], 0) == pytest.approx(1.5 - 0.2)


def test_lesions_that_are_not_marked_are_not_scored() -> None:
    unknown = replace(case([0, 0], lesions=0, predicted=10), classes=("liver",))
    assert unknown.dice(0) == {"liver": 1.0, "lesion": None}
    assert unknown.false_ml(0) is None
    assert objective([unknown], 0) == 1


def test_the_widest_search_that_costs_no_case_anything() -> None:
    cases = [case([50, 50])] * 4
    assert choose([*cases, case([50, 50], searched={3: 1})], COMPARED)[1].search_mm == SEARCH_MM[1]
    assert choose([*cases, case([50, 50], searched={1: 1})], COMPARED)[1].search_mm == 0
    lesions_alone = [replace(one, classes=("lesion",)) for one in [*cases, *cases]]
    assert choose(lesions_alone, COMPARED)[1].search_mm == 0


def test_simpler_settings_come_first() -> None:
    compared = candidates(("liver", "lesion"), (0.5, 0.5))
    assert compared[0] == PLAIN
    assert len(set(compared)) == len(compared) == 50
    assert compared.index(LARGEST) < compared.index(replace(LARGEST, min_lesion_ml=0.05))
    moved = [one.thresholds != PLAIN.thresholds for one in compared]
    assert moved == sorted(moved)
    alone = candidates(("lesion",), (0.4,))
    assert not any(one.keep_largest_liver or one.drop_lesions_outside_liver for one in alone)
    assert {one.thresholds for one in alone} == {(0.3,), (0.4,), (0.5,), (0.7,)}


def test_tables_show_cases_and_what_was_compared() -> None:
    cases = [case([50, 60]), case([0, 0], lesions=0, predicted=10, name="healthy")]
    healthy = case_table(cases, 0).splitlines()[3].split()
    assert healthy == ["healthy", "1.000", "-", "10.0", "0/0", "0/0"]
    lines = choice_table(cases, COMPARED, 1).splitlines()
    assert "largest liver (chosen)" in lines[3] and lines[3].endswith("1.5000")


def test_settings_survive_as_json() -> None:
    inference = replace(LARGEST, search_mm=20.0, min_lesion_ml=0.2)
    assert Inference.from_json(inference.to_json()) == inference
    scores = case([50, 60])
    again = CaseScores.from_json(scores.to_json())
    assert again.to_json() == scores.to_json()
    for damaged in ({}, {"thresholds": [2.0], "postprocessing": {}, "search_mm": 0.0}, 3):
        with pytest.raises(ValueError, match=r"thresholds|not settings of inference"):
            Inference.from_json(damaged)
