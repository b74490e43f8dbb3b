import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lits_runtime import CheckpointError, DatasetError
from lits_train.network.checkpoint import (
    BEST_NAME,
    LAST_NAME,
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from lits_train.run.distributed import World
from lits_train.run.state import TrainingState
from lits_train.settings.recipe import DEFAULT
from lits_train.settings.run import RunSettings

pytestmark = pytest.mark.slow

RECIPE = DEFAULT.override(
    size=32,
    epochs=10,
    batch_size=16,
    learning_rate=2e-3,
    warmup_steps=0,
    ema_decay=0.3,
    clip_norm=0.5,
    schedule="poly",
)


def new_state(tmp_path: Path, **settings: object) -> TrainingState:
    recipe = RECIPE.override(**settings)
    return TrainingState(recipe, RunSettings(tmp_path), World(torch.device("cpu")), {}, 3)


def test_average_follows_its_recurrence_and_gradients_are_clipped(tmp_path: Path) -> None:
    state = new_state(tmp_path)
    assert state.average
    assert state.network.head.bias is not None
    bias, statistic = state.network.head.bias, "encoder.0.1.running_mean"
    expected = expected_mean = torch.zeros(0)
    for step in range(4):
        state.network.train()
        loss = state.model(torch.rand(4, 3, 32, 32)).square().sum()
        value, norm = state.optimise(loss)
        assert value == pytest.approx(loss.item())
        gradients = [p.grad.norm() for p in state.network.parameters() if p.grad is not None]
        assert norm > 0.5
        assert float(torch.stack(gradients).norm()) == pytest.approx(0.5, rel=1e-3)
        decay = min(0.3, (1 + step) / (10 + step)) if step else 0.0
        mean = state.network.state_dict()[statistic]
        if not step:
            expected, expected_mean = torch.zeros_like(bias), torch.zeros_like(mean)
        expected = decay * expected + (1 - decay) * bias.detach()
        expected_mean = decay * expected_mean + (1 - decay) * mean
        assert state.rate == pytest.approx(2e-3 * (1 - step / 30) ** 0.9)
    averaged = state.evaluated().state_dict()
    torch.testing.assert_close(averaged["head.bias"], expected)
    torch.testing.assert_close(averaged[statistic], expected_mean)
    assert not torch.equal(averaged["head.bias"], bias)
    assert state.step == 4


def test_a_loss_that_is_not_finite_leaves_the_weights(tmp_path: Path) -> None:
    state = new_state(tmp_path)
    before = {name: tensor.clone() for name, tensor in state.network.state_dict().items()}
    loss = sum(parameter.sum() for parameter in state.network.parameters()) * torch.nan
    assert isinstance(loss, torch.Tensor)
    with pytest.raises(FloatingPointError, match="loss nan"):
        state.optimise(loss)
    root = (0 * state.network.head.weight).sum().sqrt()  # 0, of infinite slope
    with pytest.raises(FloatingPointError, match="loss 0, norm of its gradients nan"):
        state.optimise(root)
    after = state.network.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert state.step == 0


def test_patience_counts_epochs_since_the_best(tmp_path: Path) -> None:
    recipe = RECIPE.override(ema_decay=0.0)
    run = RunSettings(tmp_path, patience=2)
    state = TrainingState(recipe, run, World(torch.device("cpu")), {}, 3)
    finished = []
    for dice in ([0.5, 0.1], [0.6, 0.2], None, [0.3, 0.3]):
        state.complete_epoch(dice)
        finished.append(state.finished)
    assert finished == [False, False, False, True]
    assert (state.progress.best_epoch, state.progress.best_dice) == (
        2,
        {"liver": 0.6, "lesion": 0.2},
    )


def test_a_class_that_validation_never_sees_does_not_choose_the_best(tmp_path: Path) -> None:
    state = new_state(tmp_path, ema_decay=0.0)
    for dice in ([0.5, math.nan], [0.4, math.nan]):
        metrics = state.complete_epoch(dice)
    assert metrics["validation_dice"] == {"liver": 0.4, "lesion": None}
    assert (state.progress.best_epoch, state.progress.best_score) == (1, 0.5)
    assert state.progress.best_dice == {"liver": 0.5, "lesion": None}
    assert load_checkpoint(tmp_path / BEST_NAME).training["epochs"] == 1


def test_where_validation_sees_nothing_the_latest_weights_are_the_best(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunSettings(tmp_path, patience=1)
    recipe = RECIPE.override(ema_decay=0.0)
    state = TrainingState(recipe, run, World(torch.device("cpu")), {}, 3)
    for epoch in (1, 2):
        state.complete_epoch([math.nan, math.nan])
        assert load_checkpoint(tmp_path / BEST_NAME).training["epochs"] == epoch
        assert not state.finished
        assert f"epoch {epoch}: no validation case shows liver or lesion" in caplog.text


DAMAGE: list[tuple[str, Any]] = [
    ("progress", 3),
    ("step", -1),
    ("step", 1.5),
    ("step", 10**30),
    ("epoch", "2"),
    ("best_epoch", 9),
    ("loss_sum", None),
    ("best_dice", [1]),
    ("unreadable", {"1": 3}),
    ("optimizer", {}),
    ("optimizer", {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}),
    ("optimizer", {"state": {10**9: {}}, "param_groups": []}),
    ("run", [1]),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("saved")
    new_state(folder).save()
    return load_checkpoint(folder / LAST_NAME)


@pytest.mark.parametrize(("part", "value"), DAMAGE)
def test_a_damaged_state_is_an_error_that_names_the_file(
    part: str, value: Any, saved: Checkpoint, tmp_path: Path
) -> None:
    resume = dict(saved.resume)
    if part in resume:
        resume[part] = value
    else:
        resume["progress"] = {**resume["progress"], part: value}
    save_checkpoint(replace(saved, resume=resume), tmp_path / LAST_NAME)
    with pytest.raises(CheckpointError, match=r"last\.pth: "):
        again = RunSettings(tmp_path, resume=True)
        TrainingState(RECIPE, again, World(torch.device("cpu")), {}, 3)


def test_what_changed_is_named_and_may_be_allowed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = {"data_fingerprint": "aa", "cases": ["1", "2"], "validation_cases": ["3"], "seed": 0}
    world = World(torch.device("cpu"))
    state = TrainingState(RECIPE, RunSettings(tmp_path), world, before, 4)
    state.progress.epoch, state.progress.step = 1, 6
    state.save()
    recipe = RECIPE.override(learning_rate=1e-3, batch_size=8, weight_decay=0.5)
    now = {**before, "data_fingerprint": "bb", "cases": ["1"]}
    run = RunSettings(tmp_path, resume=True, precision="bf16")
    with pytest.raises(CheckpointError) as error:
        TrainingState(recipe, run, world, now, 8)
    for change in (
        "learning_rate: 0.002 -> 0.001",
        "weight_decay: 0.01 -> 0.5",
        "batch_size: 16 -> 8",
        "precision: auto -> bf16",
        "--allow-changed",
    ):
        assert change in str(error.value)
    free = replace(run, precision="auto", patience=3, workers=2, tensorboard=True, validate_every=2)
    with pytest.raises(DatasetError, match="data_fingerprint: aa -> bb, cases: 1,2 -> 1; restore"):
        TrainingState(RECIPE, free, world, now, 4)
    TrainingState(RECIPE.override(epochs=99), free, world, before, 4)
    allowed = TrainingState(recipe, replace(run, allow_changed=True), world, now, 8)
    assert (allowed.epoch, allowed.step) == (1, 8 + 4)
    assert {group["weight_decay"] for group in allowed.optimizer.param_groups} == {0.5}
    assert "learning_rate: 0.002 -> 0.001" in caplog.text
    assert "data_fingerprint: aa -> bb" in caplog.text
    wide = replace(run, allow_changed=True)
    with pytest.raises(CheckpointError, match="weights do not fit the network"):
        TrainingState(RECIPE.override(decoder_channels=(8, 8)), wide, world, before, 4)
