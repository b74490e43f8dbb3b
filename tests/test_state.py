from pathlib import Path

import pytest
import torch

from lits_train.distributed import World
from lits_train.recipe import DEFAULT
from lits_train.run import RunSettings
from lits_train.state import TrainingState

RECIPE = DEFAULT.override(
    size=32, epochs=10, warmup_steps=0, ema_decay=0.3, clip_norm=0.5, schedule="poly"
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
