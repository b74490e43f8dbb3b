"""Everything that changes while training, and how it is saved and restored."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lits_runtime.errors import CheckpointError, DatasetError
from lits_train.checkpoint import (
    BEST_NAME,
    LAST_NAME,
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from lits_train.distributed import World, parallel, synchronise
from lits_train.network import SegmentationNetwork
from lits_train.pipeline import Preprocessing
from lits_train.recipe import Recipe
from lits_train.run import RunSettings
from lits_train.schedule import learning_rate

_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
_PROGRESS = ("step", "epoch", "loss_sum", "best_score", "best_epoch", "best_dice", "scores")


class TrainingState:
    """Networks, optimizer and counters of a run; equal in all of its processes.

    Raises:
        CheckpointError: starting weights or the checkpoint to resume are not usable.
        DatasetError: the checkpoint to resume is of other data.
    """

    def __init__(
        self,
        recipe: Recipe,
        run: RunSettings,
        world: World,
        provenance: dict[str, Any],
        epoch_steps: int,
    ) -> None:
        self.recipe, self.run, self.world, self.provenance = recipe, run, world, provenance
        self.epoch_steps = epoch_steps
        self.step, self.epoch, self.loss_sum = 0, 0, 0.0
        self.best_score, self.best_epoch, self.best_dice = -math.inf, 0, dict[str, float]()
        self.scores: dict[str, Any] = {}
        self._saved_s = time.monotonic()
        torch.manual_seed(run.seed)
        self.preprocessing = Preprocessing(recipe)
        self.network = SegmentationNetwork(recipe)
        self._resume_or_start()

    def _resume_or_start(self) -> None:
        last = self.run.folder / LAST_NAME
        if self.run.resume and not last.exists():
            raise CheckpointError(f"{last} does not exist: nothing was saved yet; leave --resume")
        if not self.run.resume and last.exists():
            raise CheckpointError(
                f"{last} exists: go on with --resume, or choose another output folder"
            )
        if self.run.resume:
            checkpoint = load_checkpoint(last)
            self._check_same_run(checkpoint, f"{last}")
            self._set_up()
            self._restore(checkpoint)
            return
        if self.run.weights != "none":
            self.network.load_encoder(self.run.weights)
        self._set_up()

    def _set_up(self) -> None:
        """Put the networks on the device and make what trains them."""
        recipe, device = self.recipe, self.world.device
        synchronise(self.network, self.world)
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = None
        if recipe.ema_decay:  # batch normalisation's statistics belong to the weights: average both
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
        # The first steps are far from the weights' later course: forget them sooner.
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        get_ema_multi_avg_fn(decay)(average, current, updates)

    def autocast(self) -> torch.autocast:
        """What the network runs in, as the run's precision says."""
        return torch.autocast(
            self.world.device.type,
            self.autocast_dtype,
            enabled=self.autocast_dtype is not None,
        )

    def evaluated(self) -> nn.Module:
        """The network to validate and keep, in evaluation mode: the average, if there is one."""
        network: nn.Module = self.average.module if self.average else self.network
        return network.eval()

    @property
    def rate(self) -> float:
        """Learning rate of the step last taken."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def finished(self) -> bool:
        """Whether the recipe's epochs are done, or patience is at its end."""
        waited = self.epoch - self.best_epoch if self.best_epoch else 0
        return self.epoch >= self.recipe.epochs or 0 < self.run.patience <= waited

    def optimise(self, loss: Tensor) -> tuple[float, float]:
        """Take one step down; returns the loss and the norm of its gradients before clipping.

        Raises:
            FloatingPointError: one of them is not finite; the weights are as before.
        """
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(
            self.network.parameters(), self.recipe.clip_norm or math.inf
        )
        value, norm_value = torch.stack([loss.detach(), norm]).tolist()
        # With scaled gradients a norm that is not finite is the scaler's business: it skips.
        if not math.isfinite(value) or not (math.isfinite(norm_value) or self.scaler.is_enabled()):
            raise FloatingPointError(f"loss {value:g}, norm of its gradients {norm_value:g}")
        steps = self.epoch_steps * self.recipe.epochs
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step, steps)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average:
            self.average.update_parameters(self.network)
        self.step += 1
        self.loss_sum += value
        return value, norm_value

    def complete_epoch(self, dice: Sequence[float] | None) -> dict[str, Any]:
        """Count an epoch and keep its weights if they are the best; returns its metrics.

        Args:
            dice: validation Dice by class; None: the epoch was not validated.
        """
        self.epoch += 1
        loss, self.loss_sum = self.loss_sum / self.epoch_steps, 0.0
        metrics: dict[str, Any] = {"epoch": self.epoch, "step": self.step, "loss": loss}
        self.scores |= {"loss": loss}
        if dice is not None:
            by_class = dict(zip(self.recipe.classes, dice, strict=True))
            self.scores |= {"validation_dice": by_class}
            metrics["validation_dice"] = by_class
            known = [value for value in dice if not math.isnan(value)]
            score = sum(known) / len(known) if known else 0.0
            if score > self.best_score:
                self.best_score, self.best_epoch, self.best_dice = score, self.epoch, by_class
                if self.world.leads:
                    save_checkpoint(self._checkpoint(), self.run.folder / BEST_NAME)
        return metrics

    def save(self) -> None:
        """Write all that a run needs to go on from here, bit for bit."""
        if self.world.leads:
            resume: dict[str, Any] = {
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "progress": {name: getattr(self, name) for name in _PROGRESS},
            }
            if self.average:  # the checkpoint's own weights are then the average
                resume["network"] = self.network.state_dict()
                resume["averaged_steps"] = int(self.average.n_averaged)
            path = self.run.folder / LAST_NAME
            save_checkpoint(replace(self._checkpoint(), resume=resume), path)
        self._saved_s = time.monotonic()

    def save_if_due(self) -> None:
        """Save when `checkpoint_minutes` have passed since the last time."""
        if time.monotonic() - self._saved_s >= 60 * self.run.checkpoint_minutes:
            self.save()

    def _checkpoint(self) -> Checkpoint:
        training = {**self.provenance, "epochs": self.epoch, **self.scores}
        network = self.average.module if self.average else self.network
        return Checkpoint(self.recipe, network.state_dict(), training)

    def _check_same_run(self, checkpoint: Checkpoint, path: str) -> None:
        if "progress" not in checkpoint.resume:
            raise CheckpointError(
                f"{path}: holds no training state that this version of lits-toolkit can resume"
            )
        if checkpoint.recipe.override(epochs=self.recipe.epochs) != self.recipe:
            raise CheckpointError(
                f"{path}: trained with other settings than asked for; resume with the same ones"
            )
        for key in ("data_fingerprint", "seed", "cases"):
            if checkpoint.training[key] != self.provenance[key]:
                raise DatasetError(
                    f"{path}: trained with {key} {checkpoint.training[key]}, now it is "
                    f"{self.provenance[key]}; resume with the same data and seed"
                )

    def _restore(self, checkpoint: Checkpoint) -> None:
        resume = checkpoint.resume
        self.provenance["starting_weights"] = checkpoint.training["starting_weights"]
        if self.average:
            self.average.module.load_state_dict(checkpoint.state_dict)
            self.average.n_averaged.fill_(resume["averaged_steps"])
        self.network.load_state_dict(resume.get("network", checkpoint.state_dict))
        self.optimizer.load_state_dict(resume["optimizer"])
        self.scaler.load_state_dict(resume["scaler"])
        for name in _PROGRESS:
            setattr(self, name, resume["progress"][name])


def _autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    if precision == "auto":
        if device.type != "cuda":
            return None
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
