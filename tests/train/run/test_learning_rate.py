from itertools import pairwise

import pytest

from lits_train.run.learning_rate import learning_rate
from lits_train.settings.recipe import DEFAULT

PLAIN = DEFAULT.override(learning_rate=0.1, warmup_steps=0)


@pytest.mark.parametrize(
    ("schedule", "start", "middle", "end"),
    [
        ("constant", 0.1, 0.1, 0.1),
        ("cosine", 0.1, 0.05, 0.0),
        ("late", 0.1, 0.1, 0.0),
        ("poly", 0.1, 0.1 * 0.5**0.9, 0.0),
    ],
)
def test_schedules(schedule: str, start: float, middle: float, end: float) -> None:
    recipe = PLAIN.override(schedule=schedule)
    rates = [learning_rate(recipe, step, 100) for step in (0, 50, 100)]
    assert rates == pytest.approx([start, middle, end])


@pytest.mark.parametrize("schedule", ["constant", "cosine", "late", "poly"])
def test_warm_up_rises_linearly_and_the_schedule_takes_what_is_left(schedule: str) -> None:
    recipe = PLAIN.override(schedule=schedule, warmup_steps=4)
    rates = [learning_rate(recipe, step, 24) for step in range(25)]
    assert rates[:5] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])
    unwarmed = PLAIN.override(schedule=schedule)
    assert rates[4:] == pytest.approx([learning_rate(unwarmed, step, 20) for step in range(21)])


def test_late_falls_in_the_last_fifth() -> None:
    recipe = PLAIN.override(schedule="late")
    rates = [learning_rate(recipe, step, 100) for step in range(101)]
    assert rates[:81] == pytest.approx([0.1] * 81)
    assert rates[90] == pytest.approx(0.05)
    assert all(one > other for one, other in pairwise(rates[80:]))


def test_a_run_shorter_than_its_warm_up_only_rises() -> None:
    recipe = PLAIN.override(schedule="poly", warmup_steps=10)
    assert learning_rate(recipe, 2, 3) == pytest.approx(0.03)
