"""What belongs to one run on one machine, and what the run leaves."""

import re
from dataclasses import dataclass
from pathlib import Path

from lits_train.limits import RUN_LIMITS, check_fields, shown

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
_DEVICE = re.compile(r"cpu|mps|cuda(:\d{1,3})?", re.ASCII)


@dataclass(frozen=True)
class RunSettings:
    """What belongs to one run, not to the recipe; impossible combinations raise ValueError."""

    folder: Path
    weights: str = "none"
    """Start of the encoder: "imagenet", "none", or a file of RegNetY-400MF weights."""
    seed: int = 0
    """Of split, first weights, order and augmentation."""
    validation_fraction: float = 0.2
    """Part of the cases held out, unless `folds` or `validation_cases` choose them."""
    folds: int = 0
    """Cases are dealt into so many folds; 0: by fraction."""
    fold: int = 0
    """Which of them is held out, from 0."""
    validation_cases: tuple[str, ...] = ()
    """IDs of the cases held out."""
    device: str = "cpu"
    """"cpu", "cuda", "cuda:N" or "mps"; "cuda" becomes each process's own."""
    precision: str = "auto"
    """Of autocast: "auto" is bfloat16 or else float16 on CUDA, float32 on the CPU."""
    compile: bool = False
    """Train through torch.compile."""
    workers: int = 0
    """Loading processes of each training process."""
    resume: bool = False
    """Go on from the last saved state."""
    allow_changed: bool = False
    """Resume with other settings and data than those that the state was saved with."""
    checkpoint_minutes: float = 10.0
    """Time between saved states within an epoch. 0: after each step."""
    validate_every: int = 1
    """Epochs between validations; the last epoch is always validated."""
    patience: int = 0
    """Stop when so many epochs brought no better validation score. 0: never."""
    tensorboard: bool = False
    """Write event files beside `metrics.jsonl`."""

    def __post_init__(self) -> None:
        check_fields(self, RUN_LIMITS, {"precision": PRECISIONS})
        if not _DEVICE.fullmatch(self.device):
            raise ValueError(
                f"device {shown(self.device)}: expected cpu, cuda, cuda:N for one of several, or "
                "mps"
            )
        if self.allow_changed and not self.resume:
            raise ValueError("allow_changed goes with resume: only a resumed run can have changed")
        if self.folds and self.validation_cases:
            raise ValueError("cases are held out by fold or by ID, not by both")
        if self.folds and not 0 <= self.fold < self.folds:
            raise ValueError(f"fold {self.fold}: of {self.folds} folds expected 0 to the last")
        if self.folds == 1 or (self.fold and not self.folds):
            raise ValueError(f"folds {self.folds}: expected 2 or more")
        if self.precision == "fp16" and not self.device.startswith("cuda"):
            raise ValueError("precision fp16 needs CUDA; the CPU trains in fp32 or bf16")


@dataclass(frozen=True)
class TrainingResult:
    """Where the run left off."""

    checkpoint: Path
    """Of the best epoch; missing as long as no epoch was validated."""
    epochs: int
    """Complete ones."""
    validation_dice: dict[str, float | None]
    """Of the best epoch, by class; None: validation has not seen the class."""
    skipped: dict[str, str]
    """By case ID, why a case, or which slices of it and why, could not be used."""
    stopped: bool = False
    """The caller asked for a stop before the run was over; it can be resumed."""
