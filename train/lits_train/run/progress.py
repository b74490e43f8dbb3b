"""The progress of a run, and checks of a saved state before it is resumed."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from lits_runtime.errors import CheckpointError
from lits_runtime.messages import brief
from lits_train.limits import shown

_MOST_STEPS = 2**62


@dataclass
class Progress:
    """Counters and scores of a run."""

    step: int = 0
    """Steps taken."""
    epoch: int = 0
    """Completed epochs."""
    loss_sum: float = 0.0
    """Sum over the steps of the current epoch."""
    best_score: float = -math.inf
    """Mean Dice over the classes that occur in validation cases."""
    best_epoch: int = 0
    best_dice: dict[str, float | None] = field(default_factory=dict)
    """By class; None if it does not occur in validation cases."""
    scores: dict[str, Any] = field(default_factory=dict)
    """Latest loss and validation scores."""
    epoch_steps: int = 0
    """Steps per epoch. 0: unknown, in a state of an older version."""
    unreadable: dict[str, dict[int, str]] = field(default_factory=dict)
    """Reasons by case ID and slice, see `SkippedSlices`."""

    def to_plain(self) -> dict[str, Any]:
        """The progress as plain values."""
        return asdict(self)

    def in_epochs_of(self, steps: int) -> None:
        """Keep the position within the epoch when the number of steps per epoch changes."""
        before = self.epoch_steps or steps
        done = min(max(self.step - self.epoch * before, 0), before)
        if before != steps:
            self.step = self.epoch * steps + done * steps // before
            self.loss_sum = self.loss_sum * steps / before
        self.epoch_steps = steps


def read_progress(content: Any) -> Progress:
    """The progress in a saved state.

    Raises:
        CheckpointError: it holds values that lits-train does not write.
    """
    if not isinstance(content, Mapping):
        raise _damaged("progress", content)
    known = {one.name for one in fields(Progress)}
    values = {name: value for name, value in content.items() if name in known}
    progress = Progress(**values)
    for name in ("step", "epoch", "best_epoch", "epoch_steps"):
        count = getattr(progress, name)
        if type(count) is not int or not 0 <= count < _MOST_STEPS:
            raise _damaged(name, count)
    for name in ("loss_sum", "best_score"):
        if type(getattr(progress, name)) not in (int, float):
            raise _damaged(name, getattr(progress, name))
    for name in ("best_dice", "scores", "unreadable"):
        if not isinstance(getattr(progress, name), dict):
            raise _damaged(name, getattr(progress, name))
    for case_id, slices in progress.unreadable.items():
        if not isinstance(slices, dict) or not all(
            type(number) is int and isinstance(reason, str) for number, reason in slices.items()
        ):
            raise _damaged("unreadable", {case_id: slices})
    dice = progress.best_dice.items()
    progress.best_dice = {
        str(name): value if type(value) is float and math.isfinite(value) else None
        for name, value in dice
    }
    if progress.best_epoch > progress.epoch or progress.step < progress.epoch:
        raise _damaged("step", progress.step)
    return progress


def check_optimizer(content: Any, optimizer: torch.optim.Optimizer) -> None:
    """Check a saved optimizer state against the shapes of the parameters.

    Torch would copy a tensor of any shape to the device, even a forged, huge one.

    Raises:
        CheckpointError: it belongs to other parameters, or is damaged.
    """
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    try:
        for index, state in content["state"].items():
            shape = parameters[index].shape
            for name, tensor in state.items():
                if not isinstance(tensor, Tensor) or tensor.shape not in (shape, torch.Size()):
                    raise _damaged(f"optimizer's {name}", getattr(tensor, "shape", tensor))
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise _damaged("optimizer", brief(error)) from error


def _damaged(name: str, value: object) -> CheckpointError:
    return CheckpointError(f"damaged, its state cannot be resumed: {name} {shown(value)}")
