import json
import logging
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lits_runtime import CheckpointError, DatasetError, TrainingError
from lits_train.data.cases import find_cases
from lits_train.network.checkpoint import BEST_NAME, LAST_NAME, load_checkpoint, save_checkpoint
from lits_train.settings.recipe import BASELINE, DEFAULT, RECIPES, Recipe
from lits_train.settings.run import RunSettings
from lits_train.training.loop import train
from support.files.full_disk import largest_file

pytestmark = pytest.mark.slow

SMALL = {"size": 32, "batch_size": 4, "epochs": 2, "epoch_slices": 8}
SAME = ("epoch", "step", "loss", "validation_dice", "learning_rate")
"""What metrics of two equal runs have in common; the rest is speed and memory."""


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).state_dict


def metrics_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_same_weights(one: Path, other: Path) -> None:
    mine, theirs = weights_of(one), weights_of(other)
    assert mine.keys() == theirs.keys()
    for name in mine:
        assert torch.equal(mine[name], theirs[name]), name


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_run_leaves_best_last_and_metrics(
    recipe: Recipe, phantom_folder: Path, tmp_path: Path
) -> None:
    recipe = recipe.override(**SMALL)
    result = train(find_cases(phantom_folder), recipe, RunSettings(tmp_path / "run"))
    assert result.checkpoint == tmp_path / "run" / BEST_NAME
    assert result.epochs == 2
    best, last = load_checkpoint(result.checkpoint), load_checkpoint(tmp_path / "run" / LAST_NAME)
    assert best.recipe == recipe
    assert not best.resume
    assert last.training["epochs"] == 2
    assert {*best.training["cases"], *best.training["validation_cases"]} == {"0", "1", "2"}
    assert best.network()(torch.rand(1, 3, 32, 32)).shape[1] == len(recipe.classes)
    lines = metrics_of(tmp_path / "run")
    assert [line["epoch"] for line in lines] == [1, 2]
    assert set(lines[0]["validation_dice"]) == set(recipe.classes)
    assert not list((tmp_path / "run").glob(".lits-*"))


def test_the_loss_falls_and_the_time_left_is_told(
    phantom_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = DEFAULT.override(
        size=32, batch_size=4, epochs=6, learning_rate=1e-2, warmup_steps=0, synthetic_lesions=0.0
    )
    with caplog.at_level(logging.INFO, "lits_train"):
        train(find_cases(phantom_folder), recipe, RunSettings(tmp_path))
    lines = metrics_of(tmp_path)
    assert lines[-1]["loss"] < 0.75 * lines[0]["loss"]
    told = [record.message for record in caplog.records]
    assert sum("steps that are left, and validation" in message for message in told) == 1
    epochs = [message for message in told if message.startswith("epoch ")]
    assert [message.endswith(" left") for message in epochs] == [True] * 5 + [False]


STEADY = DEFAULT.override(size=32, batch_size=4, epochs=2, epoch_slices=40, ema_decay=0.9)


@pytest.fixture(scope="module")
def undisturbed(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed")
    train(find_cases(phantom_folder), STEADY, RunSettings(run))
    return run


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_ended_within_an_epoch_and_resumed_it_ends_with_the_same_bits(
    number: signal.Signals, status: int, undisturbed: Path, phantom_folder: Path, tmp_path: Path
) -> None:
    settings = ["--set", "ema_decay=0.9", "--set", "epoch_slices=40"]
    options = ["--size", "32", "--batch-size", "4", "--epochs", "2", "--weights", "none"]
    command = [
        sys.executable,
        "-m",
        "lits_train",
        str(phantom_folder),
        "-o",
        str(tmp_path),
    ]
    process = subprocess.Popen(
        [*command, *options, *settings, "--device", "cpu", "--checkpoint-minutes", "0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / LAST_NAME).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors
    assert ("interrupted" in errors) == (number != signal.SIGKILL)
    last = load_checkpoint(tmp_path / LAST_NAME)
    assert last.training["epochs"] == 0
    assert 1 <= last.resume["progress"]["step"] < 10
    result = train(find_cases(phantom_folder), STEADY, RunSettings(tmp_path, resume=True))
    assert (result.epochs, result.stopped) == (2, False)
    assert_same_weights(undisturbed / LAST_NAME, tmp_path / LAST_NAME)
    assert_same_weights(undisturbed / BEST_NAME, tmp_path / BEST_NAME)
    assert [line.get("resumed", False) for line in metrics_of(tmp_path)] == [True, False]
    for mine, theirs in zip(metrics_of(tmp_path), metrics_of(undisturbed), strict=True):
        assert {key: mine[key] for key in SAME} == {key: theirs[key] for key in SAME}
    assert not list(tmp_path.glob(".lits-*"))


def test_a_stop_during_validation_repeats_it(
    undisturbed: Path, phantom_folder: Path, tmp_path: Path
) -> None:
    asked = 0

    def stop_after_the_last_step() -> bool:
        nonlocal asked
        asked += 1
        return asked > 11  # once before the first step, once before each of 10

    cases = find_cases(phantom_folder)
    result = train(cases, STEADY, RunSettings(tmp_path), stop_after_the_last_step)
    assert (result.epochs, result.stopped) == (0, True)
    assert load_checkpoint(tmp_path / LAST_NAME).resume["progress"]["step"] == 10
    train(cases, STEADY, RunSettings(tmp_path, resume=True))
    assert_same_weights(undisturbed / LAST_NAME, tmp_path / LAST_NAME)


def test_no_room_for_a_checkpoint_leaves_the_previous_one(
    undisturbed: Path, phantom_folder: Path, tmp_path: Path
) -> None:
    """With a limit on file sizes, which acts like a disk that is full for large files only."""
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    before = (run / LAST_NAME).read_bytes()
    cases, longer = find_cases(phantom_folder), STEADY.override(epochs=3)
    with largest_file(2**20), pytest.raises(OSError, match=f"cannot write.*{run}"):
        train(cases, longer, RunSettings(run, resume=True, checkpoint_minutes=0))
    assert (run / LAST_NAME).read_bytes() == before
    assert not list(run.glob(".lits-*"))


def test_a_loss_that_is_not_finite_names_its_slices_and_what_is_saved_stays(
    undisturbed: Path, phantom_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    broken = load_checkpoint(run / LAST_NAME)
    next(iter(broken.resume["network"].values())).fill_(torch.nan)
    save_checkpoint(broken, run / LAST_NAME)
    before = (run / LAST_NAME).read_bytes()
    with pytest.raises(TrainingError) as error:
        settings = RunSettings(run, resume=True, checkpoint_minutes=0)
        train(find_cases(phantom_folder), STEADY.override(epochs=3), settings)
    assert "step 21 of epoch 3: loss nan" in str(error.value)
    slices = ", ".join(re.findall(r"case \d slices ([0-7](?:, [0-7])*)", str(error.value)))
    assert len(slices.split(", ")) == 4
    assert (run / LAST_NAME).read_bytes() == before
    assert_same_weights(run / BEST_NAME, undisturbed / BEST_NAME)


def test_metrics_pictures_and_tensorboard(phantom_folder: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = DEFAULT.override(size=32, batch_size=4, epochs=3, epoch_slices=16, warmup_steps=2)
    run = RunSettings(tmp_path, tensorboard=True, validate_every=2, validation_cases=("1",))
    result = train(find_cases(phantom_folder), recipe, run)
    first, second, third = metrics_of(tmp_path)
    assert "validation_dice" not in first
    assert set(second["validation_dice"]) == set(third["validation_dice"]) == {"liver", "lesion"}
    assert [line["step"] for line in (first, second, third)] == [4, 8, 12]
    assert min(line["slices_per_s"] for line in (first, second, third)) > 0
    assert min(line["memory_gb"] for line in (first, second, third)) > 0.05
    assert load_checkpoint(result.checkpoint).training["validation_cases"] == ["1"]
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert [path.name for path in pictures] == ["epoch-0002.png", "epoch-0003.png"]
    with Image.open(pictures[-1]) as opened:
        rgb = np.asarray(opened.convert("RGB")).astype(int)
    assert rgb.shape == (2 * 34 + 2, 3 * 34 + 2, 3)  # most lesion and most liver of one case
    plain, reference = rgb[:34, :34], rgb[:34, 34:68]
    assert (plain[..., 0] == plain[..., 2]).all()
    yellow = (reference[..., 0] == reference[..., 1]) & (reference[..., 0] > reference[..., 2])
    red = (reference[..., 0] > reference[..., 1]) & (reference[..., 1] == reference[..., 2])
    assert yellow.sum() > 20
    assert red.sum() > 1
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("validation Dice/liver")] == [8, 12]
    assert [event.step for event in events.Scalars("training/loss")] == [10]
    assert [event.step for event in events.Images("validation slices")] == [8, 12]


def test_patience_ends_the_run(phantom_folder: Path, tmp_path: Path) -> None:
    recipe = BASELINE.override(size=32, batch_size=4, epochs=9, epoch_slices=4, learning_rate=1e-12)
    cases = find_cases(phantom_folder)
    run = RunSettings(tmp_path, patience=2)
    assert train(cases, recipe, run).epochs == 3  # the first was the best, and two brought nothing
    assert train(cases, recipe, replace(run, resume=True)).epochs == 3


def test_resume_refuses_other_settings_data_and_nothing_to_resume(
    phantom_folder: Path, tmp_path: Path
) -> None:
    cases = find_cases(phantom_folder)
    recipe = BASELINE.override(**{**SMALL, "epochs": 1, "epoch_slices": 4})
    with pytest.raises(CheckpointError, match="start without --resume"):
        train(cases, recipe, RunSettings(tmp_path, resume=True))
    train(cases, recipe, RunSettings(tmp_path))
    with pytest.raises(CheckpointError, match="continue with --resume"):
        train(cases, recipe, RunSettings(tmp_path))
    with pytest.raises(CheckpointError, match=r"settings: learning_rate: 0\.0001 -> 1\.0; restore"):
        train(cases, recipe.override(learning_rate=1.0), RunSettings(tmp_path, resume=True))
    with pytest.raises(CheckpointError, match=r"seed: 0 -> 1, precision: auto -> bf16"):
        train(cases, recipe, RunSettings(tmp_path, resume=True, seed=1, precision="bf16"))
    with pytest.raises(DatasetError, match="data_fingerprint"):
        train(cases[:2], recipe, RunSettings(tmp_path, resume=True))
    assert train(cases, recipe.override(epochs=2), RunSettings(tmp_path, resume=True)).epochs == 2
