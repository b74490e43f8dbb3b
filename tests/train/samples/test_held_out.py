from pathlib import Path

import pytest

from lits_runtime import DatasetError
from lits_train.data.cases import Case
from lits_train.samples.held_out import held_out
from lits_train.settings.run import RunSettings

CASES = [Case(str(number), Path("v"), Path("s")) for number in range(7)]


def ids(cases: list[Case]) -> list[str]:
    return [case.case_id for case in cases]


def test_folds_are_disjoint_and_hold_every_case() -> None:
    seen: list[str] = []
    for fold in range(3):
        training, validation = held_out(CASES, RunSettings(Path("r"), folds=3, fold=fold, seed=5))
        assert sorted(ids(training) + ids(validation)) == ids(CASES)
        assert len(validation) in (2, 3)
        seen += ids(validation)
    assert sorted(seen) == ids(CASES)
    other = held_out(CASES, RunSettings(Path("r"), folds=3, seed=6))[1]
    assert ids(other) != seen[:3]


def test_named_cases_are_held_out() -> None:
    training, validation = held_out(CASES, RunSettings(Path("r"), validation_cases=("5", "2")))
    assert ids(validation) == ["2", "5"]
    assert ids(training) == ["0", "1", "3", "4", "6"]


def test_cases_in_neither_list_of_a_split_are_left_out_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = RunSettings(Path("r"), validation_cases=("5", "2"), training_cases=("0", "3", "9"))
    with caplog.at_level("WARNING"):
        training, validation = held_out(CASES, run)
    assert (ids(training), ids(validation)) == (["0", "3"], ["2", "5"])
    assert [record.message for record in caplog.records] == [
        "in neither list of the split, not used: 1, 4, 6",
        "no usable case to train on: 9",
    ]


def test_what_cannot_be_held_out() -> None:
    with pytest.raises(DatasetError, match="no usable case 9 to hold out; usable are 0, 1"):
        held_out(CASES, RunSettings(Path("r"), validation_cases=("9", "2")))
    with pytest.raises(DatasetError, match="none is left"):
        held_out(CASES[:1], RunSettings(Path("r"), validation_cases=("0",)))
    with pytest.raises(DatasetError, match="8 folds of 7"):
        held_out(CASES, RunSettings(Path("r"), folds=8))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"folds": 3, "fold": 3}, "fold 3"),
        ({"folds": 1}, "2 or more"),
        ({"fold": 1}, "2 or more"),
        ({"folds": 2, "validation_cases": ("1",)}, "not both"),
        ({"training_cases": ("1",)}, "needs validation_cases"),
        ({"precision": "fp16"}, "needs CUDA"),
        ({"precision": "fp64"}, "one of"),
    ],
)
def test_impossible_run_settings(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RunSettings(Path("r"), **settings)  # type: ignore[arg-type]
