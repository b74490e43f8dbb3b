"""Settings and result of one training run on one machine."""

import re
from dataclasses import dataclass
from pathlib import Path

from lits_train.limits import RUN_LIMITS, check_fields, shown

METRICS_NAME = "metrics.jsonl"
"""In the folder of a run: a line per epoch."""
FULL_VALIDATION_NAME = "full_validation.json"
"""Scores of the best epoch at full resolution."""
REPORT_NAME, CURVES_NAME = "report.html", "learning_curves.png"
"""What became of a run, for people."""
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
_DEVICE = re.compile(r"cpu|mps|cuda(:\d{1,3})?", re.ASCII)


@dataclass(frozen=True)
class RunSettings:
    """Settings of a run that are not the recipe's; impossible combinations raise ValueError."""

    folder: Path
    weights: str = "none"
    """Initial weights of the encoder: "imagenet", "none", or a file of RegNetY-400MF weights."""
    seed: int = 0
    """Random seed of the split, initial weights, order and augmentation."""
    validation_fraction: float = 0.2
    """Fraction of the cases held out, unless `folds` or `validation_cases` select them."""
    folds: int = 0
    """Number of folds that the cases are divided into. 0: split by fraction."""
    fold: int = 0
    """The fold to hold out, from 0."""
    validation_cases: tuple[str, ...] = ()
    """IDs of the cases to hold out."""
    training_cases: tuple[str, ...] = ()
    """IDs of the cases to train on. Empty: all that are not held out."""
    device: str = "cpu"
    """"cpu", "cuda", "cuda:N" or "mps"; "cuda" becomes each process's own."""
    precision: str = "auto"
    """Of autocast: "auto" is bfloat16 (float16 on older GPUs) on CUDA, float32 on the CPU."""
    compile: bool = False
    """Train with torch.compile."""
    workers: int = 0
    """Data loading processes for each training process."""
    resume: bool = False
    """Continue from the last saved state."""
    allow_changed: bool = False
    """Resume even if settings or data differ from those of the saved state."""
    checkpoint_minutes: float = 10.0
    """Interval between saved states within an epoch. 0: after every step."""
    validate_every: int = 1
    """Validate every so many epochs, and after the last."""
    full_validation: bool = True
    """Score the validation cases at full resolution in the end, and choose settings by it."""
    full_validation_every: int = 0
    """Score them thus every so many epochs as well. 0: only in the end."""
    patience: int = 0
    """Stop after this many epochs without a better validation score. 0: never."""
    tensorboard: bool = False
    """Write TensorBoard event files beside `metrics.jsonl`."""

    def __post_init__(self) -> None:
        check_fields(self, RUN_LIMITS, {"precision": PRECISIONS})
        if not _DEVICE.fullmatch(self.device):
            raise ValueError(f"device {shown(self.device)}: expected cpu, cuda, cuda:N or mps")
        if self.allow_changed and not self.resume:
            raise ValueError("allow_changed needs resume: only a resumed run can have changed")
        if self.full_validation_every and not self.full_validation:
            raise ValueError("full_validation_every needs full_validation")
        if self.training_cases and not self.validation_cases:
            raise ValueError("training_cases needs validation_cases: a split has both")
        if self.folds and self.validation_cases:
            raise ValueError("cases are held out by fold or by ID, not both")
        if self.folds and not 0 <= self.fold < self.folds:
            raise ValueError(
                f"fold {self.fold}: expected 0 to {self.folds - 1}, of {self.folds} folds"
            )
        if self.folds == 1 or (self.fold and not self.folds):
            raise ValueError(f"folds {self.folds}: expected 2 or more")
        if self.precision == "fp16" and not self.device.startswith("cuda"):
            raise ValueError("precision fp16 needs CUDA; the CPU trains in fp32 or bf16")


@dataclass(frozen=True)
class TrainingResult:
    """What a run left, when it ended or was stopped."""

    checkpoint: Path
    """Of the best epoch; there is none until an epoch has been validated."""
    epochs: int
    """Completed epochs."""
    validation_dice: dict[str, float | None]
    """Of the best epoch, by class; None if no validation case shows the class."""
    full_dice: dict[str, float | None]
    """Of these weights at full resolution, by class; empty if they were not scored."""
    skipped: dict[str, str]
    """By case ID, why the case or some of its slices could not be used."""
    stopped: bool = False
    """Whether the caller stopped the run before its end; it can then be resumed."""
