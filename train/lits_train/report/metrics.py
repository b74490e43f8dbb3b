"""The metrics of a run, epoch by epoch, as lits-train logs them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lits_runtime.errors import TrainingError
from lits_runtime.files.regular_file import read_bounded
from lits_train.given_files import strict_json
from lits_train.limits import shown
from lits_train.settings.run import METRICS_NAME

MOST_BYTES = 2**28
"""Of a file of metrics: a million epochs."""


@dataclass(frozen=True)
class Epoch:
    """One epoch; NaN for what its line does not say."""

    number: int
    """From 1."""
    loss: float
    learning_rate: float = math.nan
    """Of the last step."""
    slices_per_s: float = math.nan
    """In training, without validation."""
    seconds: float = math.nan
    """With validation; of the part after the interruption, if there was one."""
    dice: Mapping[str, float] = field(default_factory=dict)
    """At working size by class, NaN if no validation case shows it; empty if not validated."""
    full_dice: Mapping[str, float] = field(default_factory=dict)
    """At full resolution."""
    resumed: bool = False
    """Whether the run was resumed before or within the epoch."""

    @property
    def score(self) -> float:
        """Mean Dice over the classes that were seen, by which the best epoch is chosen."""
        seen = [value for value in self.dice.values() if not math.isnan(value)]
        return sum(seen) / len(seen) if seen else math.nan


@dataclass(frozen=True)
class RunMetrics:
    """The epochs of a run, those of its resumed parts among them."""

    name: str
    """Of the run's folder."""
    epochs: tuple[Epoch, ...]
    """In order, at least one."""

    @property
    def classes(self) -> list[str]:
        """Those that were validated."""
        return list(dict.fromkeys(name for epoch in self.epochs for name in epoch.dice))

    @property
    def best(self) -> Epoch | None:
        """The first with the best validation score; None if no epoch has one."""
        scored = [epoch for epoch in self.epochs if not math.isnan(epoch.score)]
        return max(scored, key=lambda epoch: epoch.score, default=None)

    @property
    def resumed(self) -> list[int]:
        """The epochs before or within which the run was resumed."""
        return [epoch.number for epoch in self.epochs if epoch.resumed]

    @property
    def hours(self) -> float:
        """Of all epochs; interrupted ones count from where they were resumed."""
        return sum(e.seconds for e in self.epochs if not math.isnan(e.seconds)) / 3600


def read_metrics(folder: Path) -> RunMetrics:
    """The metrics of a run's folder.

    Raises:
        TrainingError: it holds none, or a file that lits-train did not write.
    """
    path = folder / METRICS_NAME
    if not path.exists():
        raise TrainingError(f"{path} does not exist: expected a run with a completed epoch")
    lines = read_bounded(path, MOST_BYTES, TrainingError).splitlines(keepends=True)
    # The last line of a run that was killed while it wrote has no end.
    found = [_epoch(line, path) for line in lines if line.endswith(b"\n")]
    if not found:
        raise TrainingError(f"{path}: no epoch was completed yet")
    latest = {epoch.number: epoch for epoch in found}
    return RunMetrics(folder.resolve().name, tuple(latest[number] for number in sorted(latest)))


def metrics_of_line(line: bytes, path: Path) -> dict[str, Any]:
    """The values of a line of metrics; any other line is refused, because the file is not ours.

    Raises:
        TrainingError: it is another line.
    """
    try:
        values = strict_json(line)
        if type(values["epoch"]) is int:
            return dict(values)
    except (ValueError, RecursionError, KeyError, TypeError):
        pass
    raise TrainingError(f"{path}: {shown(line)} is not a line of metrics; move the file away")


def _epoch(line: bytes, path: Path) -> Epoch:
    values = metrics_of_line(line, path)
    full = values.get("full_validation")
    return Epoch(
        number=values["epoch"],
        **{name: _number(values.get(name)) for name in _NUMBERS},
        dice=_dice(values.get("validation_dice")),
        full_dice=_dice(full.get("dice") if isinstance(full, dict) else None),
        resumed=values.get("resumed") is True,
    )


_NUMBERS = ("loss", "learning_rate", "slices_per_s", "seconds")


def _number(value: object) -> float:
    return float(value) if type(value) in (int, float) else math.nan  # type: ignore[arg-type]


def _dice(values: object) -> dict[str, float]:
    return {str(k): _number(v) for k, v in values.items()} if isinstance(values, dict) else {}
