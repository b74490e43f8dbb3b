"""The training loop: epochs of slices, a Dice score on validation cases, two checkpoints.

    run = RunSettings(folder=Path("run"), seed=0)
    train(find_cases(Path("lits")), SEED, run)

RUN then holds `regnet_lits_tumor_segmentation_trained.pth`, the best epoch by validation Dice,
`last.pth`, the last complete one with all that `--resume` needs, and `metrics.jsonl`.
"""

import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, RandomSampler
from tqdm import tqdm

from lits_runtime.errors import CheckpointError, DatasetError
from lits_train.cases import Case, fingerprint, split_cases, usable_cases
from lits_train.checkpoint import (
    BEST_NAME,
    LAST_NAME,
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from lits_train.dataset import Sample, SliceDataset
from lits_train.losses import DiceCounter, segmentation_loss
from lits_train.network import SegmentationNetwork
from lits_train.pipeline import Preprocessing, class_targets, known_pixels
from lits_train.provenance import software_versions
from lits_train.recipe import Recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunSettings:
    """What belongs to one run on one machine, not to the recipe."""

    folder: Path
    weights: str = "none"
    """Start of the encoder: "imagenet", "none", or a file of RegNetY-400MF weights."""
    seed: int = 0
    validation_fraction: float = 0.2
    device: str = "cpu"
    bf16: bool = False
    """bfloat16 autocast on the CPU; on CUDA, float16 autocast with loss scaling is always on."""
    workers: int = 0
    resume: bool = False


@dataclass(frozen=True)
class TrainingResult:
    """Where the run left off."""

    checkpoint: Path
    epochs: int
    validation_dice: dict[str, float]
    """Of the best epoch, by class."""
    skipped: dict[str, str]
    """Reasons of the cases that could not be used, by case ID."""


def train(cases: Sequence[Case], recipe: Recipe, run: RunSettings) -> TrainingResult:
    """Train a recipe on cases until its number of epochs is reached.

    Raises:
        DatasetError: no case is usable, or a resumed run finds other data than it started with.
        CheckpointError: starting weights or the checkpoint to resume are not usable.
    """
    usable, skipped = usable_cases(cases)
    training_cases, validation_cases = split_cases(usable, run.validation_fraction, run.seed)
    if training_cases == validation_cases:
        logger.warning("one usable case: validation scores are on the training case itself")
    provenance = {
        "data_fingerprint": fingerprint(usable),
        "cases": [case.case_id for case in training_cases],
        "validation_cases": [case.case_id for case in validation_cases],
        "starting_weights": run.weights,
        "seed": run.seed,
        **software_versions(),
    }
    state = _TrainingState(recipe, run, provenance)
    loaders = _loaders(training_cases, validation_cases, recipe, run)
    for epoch in range(state.epoch + 1, recipe.epochs + 1):
        started = time.perf_counter()
        torch.manual_seed(run.seed + 1_000_003 * epoch)  # an epoch is the same after a resume
        loss = _train_epoch(state, loaders[0], f"epoch {epoch}/{recipe.epochs}")
        dice = _validate(state, loaders[1], len(validation_cases))
        state.complete(epoch, loss, dice, time.perf_counter() - started)
    return TrainingResult(run.folder / BEST_NAME, state.epoch, state.best_dice, skipped)


def _loaders(
    training: list[Case], validation: list[Case], recipe: Recipe, run: RunSettings
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    dataset = SliceDataset(training, recipe)
    options: dict[str, Any] = {
        "batch_size": recipe.batch_size,
        "num_workers": run.workers,
        "persistent_workers": run.workers > 0,
        "pin_memory": run.device.startswith("cuda"),
    }
    # A last batch of one slice would break batch normalisation at 1/32 of a small working size.
    drop_last = len(dataset) > recipe.batch_size
    return (
        DataLoader(dataset, sampler=RandomSampler(dataset), drop_last=drop_last, **options),
        DataLoader(SliceDataset(validation, recipe), **options),
    )


class _TrainingState:
    """Everything that changes while training, and how it is saved and restored."""

    def __init__(self, recipe: Recipe, run: RunSettings, provenance: dict[str, Any]) -> None:
        self.recipe, self.run, self.provenance = recipe, run, provenance
        self.device = torch.device(run.device)
        torch.manual_seed(run.seed)
        self.preprocessing = Preprocessing(recipe)
        self.network = SegmentationNetwork(recipe)
        if run.weights != "none" and not run.resume:
            self.network.load_encoder(run.weights)
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = _optimizer(recipe, self.network)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, _rate_factor(recipe))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.device.type == "cuda")
        self.epoch, self.best_score, self.best_dice = 0, -math.inf, dict[str, float]()
        last = run.folder / LAST_NAME
        if run.resume and not last.exists():
            raise CheckpointError(f"{last} does not exist: no epoch was completed; leave --resume")
        if run.resume:
            self._restore(load_checkpoint(last), last)
        elif last.exists():
            raise CheckpointError(
                f"{last} exists: go on with --resume, or choose another output folder"
            )

    def autocast(self) -> torch.autocast:
        """float16 on CUDA, bfloat16 on the CPU if asked for."""
        if self.device.type == "cuda":
            return torch.autocast("cuda", torch.float16)
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.run.bf16)

    def complete(self, epoch: int, loss: float, dice: list[float], seconds: float) -> None:
        """End an epoch: schedule, checkpoints, one line of metrics."""
        self.schedule.step()
        self.epoch = epoch
        by_class = dict(zip(self.recipe.classes, dice, strict=True))
        score = sum(value for value in dice if value == value) / len(dice)  # NaN: nothing known
        scores = {"epochs": epoch, "loss": loss, "validation_dice": by_class}
        best = score > self.best_score
        if best:
            self.best_score, self.best_dice = score, by_class
        state_dict = self.network.state_dict()
        checkpoint = Checkpoint(self.recipe, state_dict, {**self.provenance, **scores})
        self.run.folder.mkdir(parents=True, exist_ok=True)
        if best:
            save_checkpoint(checkpoint, self.run.folder / BEST_NAME)
        save_checkpoint(replace(checkpoint, resume=self._resume()), self.run.folder / LAST_NAME)
        line = {"epoch": epoch, "loss": loss, "validation_dice": by_class, "seconds": seconds}
        with (self.run.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        shown = ", ".join(f"{name} {value:.3f}" for name, value in by_class.items())
        logger.info("epoch %d: loss %.4f, validation Dice %s", epoch, loss, shown)

    def _resume(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
            "best_score": self.best_score,
            "best_dice": self.best_dice,
        }

    def _restore(self, checkpoint: Checkpoint, path: Path) -> None:
        resume = checkpoint.resume
        if not resume:
            raise CheckpointError(f"{path}: holds no training state to resume")
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
        self.provenance["starting_weights"] = checkpoint.training["starting_weights"]
        self.network.load_state_dict(checkpoint.state_dict)
        self.optimizer.load_state_dict(resume["optimizer"])
        self.schedule.load_state_dict(resume["schedule"])
        self.scaler.load_state_dict(resume["scaler"])
        torch.set_rng_state(resume["random"])
        if resume["random_cuda"] and self.device.type == "cuda":
            torch.cuda.set_rng_state_all(resume["random_cuda"])
        self.epoch = int(checkpoint.training["epochs"])
        self.best_score, self.best_dice = resume["best_score"], resume["best_dice"]


def _train_epoch(state: _TrainingState, loader: DataLoader[Any], title: str) -> float:
    state.network.train()
    losses: list[float] = []
    quiet = not logger.isEnabledFor(logging.INFO)
    with tqdm(loader, title, unit="batch", disable=quiet, leave=False) as progress:
        for batch in progress:
            scaled, masks_gt, known = _inputs(state, batch)
            with state.autocast():
                logits = state.network(scaled)
            loss = segmentation_loss(logits, masks_gt, known, state.recipe)
            state.optimizer.zero_grad()
            state.scaler.scale(loss).backward()
            state.scaler.step(state.optimizer)
            state.scaler.update()
            losses.append(float(loss.detach()))
            progress.set_postfix(loss=f"{losses[-1]:.4f}")
    return sum(losses) / len(losses)


@torch.no_grad()
def _validate(state: _TrainingState, loader: DataLoader[Any], cases: int) -> list[float]:
    state.network.eval()
    counter = DiceCounter(cases, len(state.recipe.classes))
    thresholds = torch.tensor(state.recipe.thresholds, device=state.device).view(1, -1, 1, 1)
    for batch in loader:
        scaled, masks_gt, known = _inputs(state, batch)
        with state.autocast():
            logits = state.network(scaled).float()
        logits = functional.interpolate(logits, size=masks_gt.shape[2:], mode="bilinear")
        masks_pred = (logits.sigmoid() >= thresholds).float()
        counter.add(masks_pred, masks_gt, known, batch["case"])
    return counter.mean_dice()


def _inputs(state: _TrainingState, batch: Sample) -> tuple[Tensor, Tensor, Tensor]:
    """The network's input, target masks and which classes are known, on the device."""
    hu, slice_range_hu, labels, liver_only = (
        tensor.to(state.device, non_blocking=True)
        for tensor in (batch["hu"], batch["range_hu"], batch["labels"], batch["liver_only"])
    )
    classes = state.recipe.classes
    scaled = state.preprocessing.of_batch(hu, slice_range_hu)
    middle = labels[:, state.recipe.context_slices]
    scaled = scaled.contiguous(memory_format=torch.channels_last)
    return scaled, class_targets(middle, classes), known_pixels(middle, liver_only, classes)


def _optimizer(recipe: Recipe, network: SegmentationNetwork) -> torch.optim.Optimizer:
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    if recipe.optimizer not in kinds:
        raise CheckpointError(f"optimizer {recipe.optimizer!r}: expected one of {list(kinds)}")
    optimizer: torch.optim.Optimizer = kinds[recipe.optimizer](
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    return optimizer


def _rate_factor(recipe: Recipe) -> Any:
    if recipe.schedule == "cosine":
        return lambda epoch: 0.5 * (1 + math.cos(math.pi * min(epoch / recipe.epochs, 1.0)))
    return lambda epoch: 1.0
