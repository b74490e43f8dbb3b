"""The log of a run: a progress bar, JSON lines, pictures and TensorBoard events."""

import contextlib
import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from lits_runtime.errors import TrainingError
from lits_runtime.files.atomic import atomic_path, remove_abandoned
from lits_runtime.files.regular_file import read_bounded
from lits_train.report.metrics import MOST_BYTES, metrics_of_line
from lits_train.run.state import TrainingState
from lits_train.settings.run import METRICS_NAME
from lits_train.training.pictures import write_png

logger = logging.getLogger(__name__)

_TIMED_STEPS = (3, 10)
"""The time that a run takes is estimated from the steps between: the first ones are slower."""
_SCALAR_STEPS = 10
"""Only every tenth step is written to TensorBoard."""


class RunLog:
    """The log of a run, written by its first process only.

    Raises:
        ModuleNotFoundError: TensorBoard is requested but not installed.
    """

    def __init__(self, state: TrainingState) -> None:
        self.state, self.folder = state, state.run.folder
        self._open = contextlib.ExitStack()
        self._writer: Any = None
        self._taken, self._began_s, self._timed_s = 0, time.monotonic(), 0.0
        self._resumed = state.run.resume
        """Until the first epoch is logged."""
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
            smoothing=0.05,  # the estimate of the time left includes validation
            leave=False,
            disable=True if silent else None,  # None: unless stderr is a terminal
        )
        self._open.callback(self._bar.close)
        if not self._bar.disable:
            self._open.enter_context(logging_redirect_tqdm())
        if self._writer:
            self._open.callback(self._writer.close)
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def step(self, loss: float, norm: float) -> None:
        """Log the step just taken."""
        state = self.state
        title = f"epoch {state.epoch + 1}/{state.recipe.epochs}"
        self._bar.set_description(title, refresh=False)
        postfix = {"loss": f"{loss:.4f}"}
        if (held := memory_gb(state)) is not None:
            postfix["memory"] = f"{held:.1f} GB"
        self._bar.set_postfix(postfix, refresh=False)
        self._bar.update(state.recipe.batch_size)
        self._estimate()
        if self._writer and state.step % _SCALAR_STEPS == 0:
            scalars = {"loss": loss, "gradient norm": norm, "learning rate": state.rate}
            for name, value in scalars.items():
                self._writer.add_scalar(f"training/{name}", value, state.step)

    def _estimate(self) -> None:
        """Log once how long the run will take; `epoch` corrects it."""
        self._taken += 1
        first, last = _TIMED_STEPS
        if self._taken == first:
            self._timed_s = time.monotonic()
        left = self.state.steps - self.state.step
        if self._taken == last and left > last and self.state.world.leads:
            step_s = (time.monotonic() - self._timed_s) / (last - first)
            logger.info(
                "%.2g steps/s: about %s for the %d steps that are left, and validation",
                *(1 / step_s, duration(left * step_s), left),
            )

    def _time_left(self) -> str:
        """What the rest takes at the pace so far, validation included; empty at the end."""
        state = self.state
        left = 0 if state.finished else state.steps - state.step
        if not left or not self._taken:
            return ""
        return f", {duration(left * (time.monotonic() - self._began_s) / self._taken)} left"

    def epoch(self, metrics: dict[str, Any], picture: Tensor | None) -> None:
        """Log the completed epoch: a line of JSON, and a picture if it was validated."""
        if not self.state.world.leads:
            return
        if (held := memory_gb(self.state)) is not None:
            metrics = metrics | {"memory_gb": round(held, 3)}
        metrics = metrics | ({"resumed": True} if self._resumed else {})
        self._resumed = False
        with (self.folder / METRICS_NAME).open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics) + "\n")
        shown = dice_by_class(metrics.get("validation_dice", {}))
        logger.info(
            "epoch %d: loss %.4f%s, %.0f slices/s%s",
            metrics["epoch"],
            metrics["loss"],
            f", validation Dice {shown}" if shown else "",
            metrics["slices_per_s"],
            self._time_left(),
        )
        if picture is not None:
            write_png(self.folder / "pictures" / f"epoch-{metrics['epoch']:04}.png", picture)
        if self._writer:
            self._write_epoch(metrics, picture)

    def _write_epoch(self, metrics: dict[str, Any], picture: Tensor | None) -> None:
        step = metrics["step"]
        for name in ("loss", "slices_per_s", "memory_gb"):
            if name in metrics:
                self._writer.add_scalar(f"epoch/{name}", metrics[name], step)
        for name, value in metrics.get("validation_dice", {}).items():
            if value is not None:
                self._writer.add_scalar(f"validation Dice/{name}", value, step)
        if picture is not None:
            self._writer.add_image("validation slices", picture, step)
        self._writer.flush()

    def _forget_later_epochs(self) -> None:
        """Drop epochs that a killed run logged after its last saved state."""
        path = self.folder / METRICS_NAME
        if not path.exists():
            return
        content = read_bounded(path, MOST_BYTES, TrainingError)
        kept = [
            line
            for line in content.splitlines(keepends=True)
            if line.endswith(b"\n") and metrics_of_line(line, path)["epoch"] <= self.state.epoch
        ]
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"".join(kept))


def dice_by_class(dice: Mapping[str, float | None]) -> str:
    """Scores as text.

    >>> dice_by_class({"liver": 0.91, "lesion": None})
    'liver 0.910, lesion not seen'
    """
    return ", ".join(
        f"{name} {'not seen' if value is None else format(value, '.3f')}"
        for name, value in dice.items()
    )


def duration(seconds: float) -> str:
    """A time in its largest unit.

    >>> duration(50), duration(5400), duration(1e6)
    ('50 s', '1.5 hours', '11.6 days')
    """
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def memory_gb(state: TrainingState) -> float | None:
    """Peak memory of the GPU, or of this process if it trains on the CPU; None if unknown."""
    device = state.world.device
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        import resource
    except ImportError:  # on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6)
