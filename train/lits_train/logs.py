"""What a run tells while it goes: a progress bar, JSON lines, pictures, TensorBoard."""

import contextlib
import json
import logging
import resource
import sys
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from lits_runtime.atomic import atomic_path, remove_abandoned
from lits_train.pictures import write_png
from lits_train.state import TrainingState

logger = logging.getLogger(__name__)

METRICS_NAME = "metrics.jsonl"
_SCALAR_STEPS = 10
"""TensorBoard is told of each so manieth step."""


class RunLog:
    """The log of a run; only the process that leads writes one.

    Raises:
        ModuleNotFoundError: TensorBoard is wanted and not installed.
    """

    def __init__(self, state: TrainingState) -> None:
        self.state, self.folder = state, state.run.folder
        self._open = contextlib.ExitStack()
        self._writer: Any = None
        if not state.world.leads:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned(self.folder)
        self._forget_later_epochs()
        if state.run.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            folder = str(self.folder / "tensorboard")
            self._writer = SummaryWriter(folder, purge_step=state.step + 1)

    def __enter__(self) -> "RunLog":
        state, width = self.state, self.state.recipe.batch_size
        silent = not state.world.leads or not logger.isEnabledFor(logging.INFO)
        self._bar = tqdm(
            total=state.recipe.epochs * state.epoch_steps * width,
            initial=state.step * width,
            unit="slice",
            smoothing=0.05,  # the time left counts validation in
            leave=False,
            disable=True if silent else None,  # None: unless stderr is a terminal
        )
        self._open.callback(self._bar.close)
        if not self._bar.disable:
            self._open.enter_context(logging_redirect_tqdm())
        if self._writer:
            self._open.callback(self._writer.close)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()

    def step(self, loss: float, norm: float) -> None:
        """Tell of the step just taken."""
        state = self.state
        title = f"epoch {state.epoch + 1}/{state.recipe.epochs}"
        self._bar.set_description(title, refresh=False)
        self._bar.set_postfix(
            {"loss": f"{loss:.4f}", "memory": f"{memory_gb(state):.1f} GB"}, refresh=False
        )
        self._bar.update(state.recipe.batch_size)
        if self._writer and state.step % _SCALAR_STEPS == 0:
            scalars = {"loss": loss, "gradient norm": norm, "learning rate": state.rate}
            for name, value in scalars.items():
                self._writer.add_scalar(f"training/{name}", value, state.step)

    def epoch(self, metrics: dict[str, Any], picture: Tensor | None) -> None:
        """Tell of the epoch just completed: one line of JSON, and a picture if it was validated."""
        if not self.state.world.leads:
            return
        metrics = metrics | {"memory_gb": round(memory_gb(self.state), 3)}
        with (self.folder / METRICS_NAME).open("a") as file:
            file.write(json.dumps(_without_nan(metrics)) + "\n")
        dice = metrics.get("validation_dice", {})
        shown = ", ".join(f"{name} {value:.3f}" for name, value in dice.items())
        logger.info(
            "epoch %d: loss %.4f%s, %.0f slices/s",
            metrics["epoch"],
            metrics["loss"],
            f", validation Dice {shown}" if shown else "",
            metrics["slices_per_s"],
        )
        if picture is not None:
            write_png(self.folder / "pictures" / f"epoch-{metrics['epoch']:04}.png", picture)
        if self._writer:
            self._write_epoch(metrics, picture)

    def _write_epoch(self, metrics: dict[str, Any], picture: Tensor | None) -> None:
        step = metrics["step"]
        for name in ("loss", "slices_per_s", "memory_gb"):
            self._writer.add_scalar(f"epoch/{name}", metrics[name], step)
        for name, value in metrics.get("validation_dice", {}).items():
            self._writer.add_scalar(f"validation Dice/{name}", value, step)
        if picture is not None:
            self._writer.add_image("validation slices", picture, step)
        self._writer.flush()

    def _forget_later_epochs(self) -> None:
        """Drop what a killed run wrote after the state that it is resumed from."""
        path = self.folder / METRICS_NAME
        if not path.exists():
            return
        kept = [
            line
            for line in path.read_text().splitlines(keepends=True)
            if line.endswith("\n") and json.loads(line)["epoch"] <= self.state.epoch
        ]
        with atomic_path(path) as temporary:
            temporary.write_text("".join(kept))


def _without_nan(metrics: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN, the Dice of a class of which the cases do not tell: null."""
    dice = metrics.get("validation_dice", {})
    told = {name: None if value != value else value for name, value in dice.items()}
    return metrics | ({"validation_dice": told} if dice else {})


def memory_gb(state: TrainingState) -> float:
    """Most memory that this process has held: the GPU's where it trains on one, else its own."""
    device = state.world.device
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6)
