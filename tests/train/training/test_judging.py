"""What a run chooses at full resolution in the end, and that an interruption loses nothing."""

import json
from pathlib import Path

import pytest

from lits_runtime.phantom.ct import make_phantom, write_phantom
from lits_train.data.cases import Case, find_cases
from lits_train.network.checkpoint import BEST_NAME, load_checkpoint
from lits_train.settings.recipe import DEFAULT
from lits_train.settings.run import FULL_VALIDATION_NAME, RunSettings
from lits_train.training.loop import train

pytestmark = pytest.mark.slow

RECIPE = DEFAULT.override(size=32, batch_size=4, epochs=1, epoch_slices=4)
HELD_OUT = ("1", "2", "3", "4", "5")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    folder = tmp_path_factory.mktemp("six")
    for seed in range(6):
        write_phantom(folder, seed, make_phantom(seed, matrix=32, slices=9, lesions=1), gzip=False)
    return find_cases(folder)


def test_what_is_chosen_is_in_the_best_checkpoint(cases: list[Case], tmp_path: Path) -> None:
    run = RunSettings(tmp_path, validation_cases=HELD_OUT, full_validation_every=1)
    result = train(cases, RECIPE, run)
    best = load_checkpoint(tmp_path / BEST_NAME)
    written = json.loads((tmp_path / FULL_VALIDATION_NAME).read_text())
    assert best.inference is not None
    assert best.inference.to_json() == written["inference"]
    assert best.training["full_validation"]["dice"] == written["dice"] == result.full_dice
    assert written["scores"].keys() == set(HELD_OUT)
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["full_validation"]["dice"] == written["dice"], "the best is the last"
    again = train(cases, RECIPE, RunSettings(tmp_path, validation_cases=HELD_OUT, resume=True))
    assert again.full_dice == result.full_dice
    without = tmp_path / "without"
    train(cases, RECIPE, RunSettings(without, validation_cases=HELD_OUT, full_validation=False))
    assert load_checkpoint(without / BEST_NAME).inference is None
    assert not (without / FULL_VALIDATION_NAME).exists()


def test_a_stop_while_the_best_is_judged_is_resumed(cases: list[Case], tmp_path: Path) -> None:
    def stop() -> bool:
        return (tmp_path / BEST_NAME).exists() and (tmp_path / "full_validation/2.json").exists()

    stopped = train(cases, RECIPE, RunSettings(tmp_path, validation_cases=HELD_OUT), stop)
    assert stopped.stopped and stopped.epochs == 1 and not stopped.full_dice
    kept = {path.name for path in (tmp_path / "full_validation").iterdir()}
    assert kept == {"1.json", "2.json"}
    assert load_checkpoint(tmp_path / BEST_NAME).inference is None
    run = RunSettings(tmp_path, validation_cases=HELD_OUT, resume=True)
    result = train(cases, RECIPE, run)
    assert result.full_dice and not result.stopped
    assert load_checkpoint(tmp_path / BEST_NAME).inference is not None
