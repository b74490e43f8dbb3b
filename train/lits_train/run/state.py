"""The state of a training: networks, optimizer and counters, saved and restored."""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lits_runtime.errors import CheckpointError
from lits_runtime.messages import brief
from lits_train.network.checkpoint import BEST_NAME, LAST_NAME, Checkpoint, save_checkpoint
from lits_train.network.preprocessing import Preprocessing
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.run.distributed import World, parallel, synchronise
from lits_train.run.learning_rate import learning_rate
from lits_train.run.progress import Progress, check_optimizer, read_progress
from lits_train.run.start import Start, check_data, find_start, kept_settings
from lits_train.samples.unreadable import SkippedSlices
from lits_train.settings.recipe import Recipe
from lits_train.settings.run import RunSettings
from lits_train.weights.state_dict import misfit

logger = logging.getLogger(__name__)

_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class TrainingState:
    """Networks, optimizer and counters of a run, the same in all of its processes.

    Raises:
        CheckpointError: the initial weights or the checkpoint to resume are unusable.
        OutputError: a new run would overwrite the files of another.
        DatasetError: the checkpoint to resume was trained on other data.
    """

    def __init__(
        self,
        recipe: Recipe,
        run: RunSettings,
        world: World,
        provenance: dict[str, Any],
        epoch_steps: int,
        start: Start | None = None,
    ) -> None:
        """Start or resume.

        Args:
            recipe: how to train.
            run: where, and from what.
            world: the processes that train together.
            provenance: facts to save in checkpoints.
            epoch_steps: steps per epoch.
            start: from `find_start`, if it has been called.
        """
        self.recipe, self.run, self.world, self.provenance = recipe, run, world, provenance
        self.progress = Progress(epoch_steps=epoch_steps)
        self.skipped = SkippedSlices()
        self._saved_s = time.monotonic()
        start = start or find_start(recipe, run)
        if start.checkpoint:
            check_data(start.checkpoint, provenance, run)
        torch.manual_seed(run.seed)
        self.preprocessing = Preprocessing(recipe)
        self.network = SegmentationNetwork(recipe)
        if start.encoder:
            self.network.encoder.load_state_dict(start.encoder)
        self._set_up()
        if start.checkpoint:
            self._restore(start.checkpoint)

    @property
    def step(self) -> int:
        """Steps taken."""
        return self.progress.step

    @property
    def epoch(self) -> int:
        """Completed epochs."""
        return self.progress.epoch

    @property
    def epoch_steps(self) -> int:
        """Steps per epoch."""
        return self.progress.epoch_steps

    def _set_up(self) -> None:
        """Move the network to the device, and create its average and optimizer."""
        recipe, device = self.recipe, self.world.device
        synchronise(self.network, self.world)
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = None
        if recipe.ema_decay:  # statistics of batch normalisation belong to the weights
            self.average = AveragedModel(
                self.network, multi_avg_fn=self._move_average, use_buffers=True
            )
        self.optimizer: torch.optim.Optimizer = _OPTIMIZERS[recipe.optimizer](
            self.network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.autocast_dtype = _autocast_dtype(self.run.precision, device)
        scaling = self.autocast_dtype == torch.float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=scaling)
        if self.run.compile:
            self.network.compile()
        self.model = parallel(self.network, self.world)

    def _move_average(self, average: Any, current: Any, updates: Any) -> None:
        # Early weights are far from later ones, and are forgotten sooner.
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        get_ema_multi_avg_fn(decay)(average, current, updates)

    def autocast(self) -> torch.autocast:
        """The autocast context of the run's precision."""
        return torch.autocast(
            self.world.device.type,
            self.autocast_dtype,
            enabled=self.autocast_dtype is not None,
        )

    def evaluated(self) -> nn.Module:
        """The network to validate and save, in evaluation mode: the average, if there is one."""
        network: nn.Module = self.average.module if self.average else self.network
        return network.eval()

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.epoch_steps * self.recipe.epochs

    @property
    def rate(self) -> float:
        """Learning rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or patience has run out."""
        waited = self.epoch - self.progress.best_epoch if self.progress.best_epoch else 0
        return self.epoch >= self.recipe.epochs or 0 < self.run.patience <= waited

    def optimise(self, loss: Tensor) -> tuple[float, float]:
        """Take one optimisation step; the loss, and the norm of its gradients before clipping.

        Raises:
            FloatingPointError: one of them is not finite; the weights are unchanged.
        """
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(
            self.network.parameters(), self.recipe.clip_norm or math.inf
        )
        value, norm_value = torch.stack([loss.detach(), norm]).tolist()
        # With scaled gradients, the scaler itself skips steps whose norm is not finite.
        if not math.isfinite(value) or not (math.isfinite(norm_value) or self.scaler.is_enabled()):
            raise FloatingPointError(f"loss {value:g}, norm of its gradients {norm_value:g}")
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step, self.steps)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average:
            self.average.update_parameters(self.network)
        self.progress.step += 1
        self.progress.loss_sum += value
        return value, norm_value

    def complete_epoch(self, dice: Sequence[float] | None) -> dict[str, Any]:
        """Count an epoch and save its weights if they are the best; its metrics.

        If no class occurs in the validation cases, the latest weights are saved.

        Args:
            dice: validation Dice by class, NaN if no case shows the class; None if the epoch was
                not validated.
        """
        progress = self.progress
        progress.epoch += 1
        loss, progress.loss_sum = progress.loss_sum / progress.epoch_steps, 0.0
        metrics: dict[str, Any] = {"epoch": self.epoch, "step": self.step, "loss": loss}
        progress.scores |= {"loss": loss}
        if dice is not None:
            by_class = {
                name: None if math.isnan(value) else value
                for name, value in zip(self.recipe.classes, dice, strict=True)
            }
            progress.scores |= {"validation_dice": by_class}
            metrics["validation_dice"] = by_class
            self._save_if_best(by_class)
        return metrics

    def _save_if_best(self, dice: dict[str, float | None]) -> None:
        seen = [value for value in dice.values() if value is not None]
        if not seen:
            logger.warning(
                "epoch %d: no validation case shows %s; without a score, the latest weights are "
                "saved as the best",
                *(self.epoch, " or ".join(self.recipe.classes)),
            )
        score = sum(seen) / len(seen) if seen else -math.inf
        if score > self.progress.best_score or not seen:
            self.progress.best_score, self.progress.best_epoch = score, self.epoch
            self.progress.best_dice = dice
            if self.world.leads:
                save_checkpoint(self._checkpoint(), self.run.folder / BEST_NAME)

    def save(self) -> None:
        """Save everything needed to resume the run bit for bit."""
        if self.world.leads:
            resume: dict[str, Any] = {
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "progress": replace(self.progress, unreadable=self.skipped.reasons).to_plain(),
                "run": kept_settings(self.run),
            }
            if self.average:  # then the checkpoint's weights are the average
                resume["network"] = self.network.state_dict()
                resume["averaged_steps"] = int(self.average.n_averaged)
            path = self.run.folder / LAST_NAME
            save_checkpoint(replace(self._checkpoint(), resume=resume), path)
        self._saved_s = time.monotonic()

    def save_if_due(self) -> None:
        """Save if `checkpoint_minutes` have passed since the last time."""
        if time.monotonic() - self._saved_s >= 60 * self.run.checkpoint_minutes:
            self.save()

    def _checkpoint(self) -> Checkpoint:
        training = {**self.provenance, "epochs": self.epoch, **self.progress.scores}
        network = self.average.module if self.average else self.network
        return Checkpoint(self.recipe, network.state_dict(), training)

    def _restore(self, checkpoint: Checkpoint) -> None:
        resume, path = checkpoint.resume, self.run.folder / LAST_NAME
        epoch_steps = self.epoch_steps
        try:
            self.progress = read_progress(resume["progress"])
            if difference := misfit(checkpoint.state_dict, self.network.state_dict()):
                raise CheckpointError(f"its weights do not fit the network: {difference}")
            self.network.load_state_dict(resume.get("network", checkpoint.state_dict))
            if self.average:
                self.average.module.load_state_dict(checkpoint.state_dict)
                self.average.n_averaged.fill_(resume.get("averaged_steps", self.step))
            check_optimizer(resume["optimizer"], self.optimizer)
            self.optimizer.load_state_dict(resume["optimizer"])
            self.scaler.load_state_dict(resume["scaler"])
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        except Exception as error:  # an unsuitable state makes torch raise all kinds of errors
            raise CheckpointError(f"{path}: its state cannot be resumed: {brief(error)}") from error
        for group in self.optimizer.param_groups:  # in case it has changed
            group["weight_decay"] = self.recipe.weight_decay
        self.provenance["starting_weights"] = checkpoint.training.get("starting_weights")
        self.progress.in_epochs_of(epoch_steps)
        self.skipped = SkippedSlices(self.progress.unreadable)


def _autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    if precision == "auto":
        if device.type != "cuda":
            return None
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
