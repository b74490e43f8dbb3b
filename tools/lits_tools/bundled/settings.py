"""The data of the trials, as `trial.toml` describes it, and the recipes that are compared."""

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from lits_runtime.cli.options.arguments import EXISTING_FILE
from lits_runtime.errors import DatasetError
from lits_train.settings.recipe import BASELINE, DEFAULT, Recipe

DEFAULT_FILE = Path(__file__).with_name("trial.toml")

data_option = click.option(
    "--data",
    type=EXISTING_FILE,
    default=DEFAULT_FILE,
    help="TOML file that describes SHARED.  [default: trial.toml beside this module]",
)


OLD: dict[str, Any] = {
    "window_hu": (0.0, 250.0),
    "size": 192,
    "learning_rate": 2e-3,
    "schedule": "cosine",
    "batch_size": 16,
    "epochs": 17,
    "warmup_steps": 50,
    "ema_decay": 0.99,
    "context_slices": 0,
    "lesion_share": 0.3,
    "liver_share": 0.5,
    "case_balance": 0.0,
    "elastic": 0.008,
    "fatty_livers": 0.0,
    "synthetic_lesions": 0.5,
    "neighbour_reach": 1,
    "made_up_neighbours": 0.0,
    "crop": 0,
    "whole_slices": 0.0,
    "soft_labels": False,
    "subpixel_head": False,
}
"""The bundled model's recipe of version 0.2."""
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "old": OLD,
    "one-slice": {"context_slices": 0},
    "nearest-labels": {"soft_labels": False},
    "coarse-head": {"soft_labels": False, "subpixel_head": False},
    "whole-slices": {"crop": 0},
    "no-synthetic": {"synthetic_lesions": 0.0},
    "no-fat": {"fatty_livers": 0.0},
    "no-balance": {"case_balance": 0.0},
    "near-neighbours": {"neighbour_reach": 1, "made_up_neighbours": 0.0},
    "wide-window": {"window_hu": (-40.0, 160.0)},
    "size-256": {"size": 256, "crop": 160},
    "wide-decoder": {"decoder_channels": (64, 48, 32, 32)},
}
BASELINE_NAME = "baseline"
"""The baseline recipe, which here predicts the liver as well, so that the two can be compared."""


@dataclass(frozen=True)
class TrialData:
    """The cases, by role, and where they lie; `trial.toml` explains each field."""

    scans: tuple[str, ...]
    """As FOLDER/CASE."""
    lesion_case: str
    healthy_case: str
    liver_only: tuple[str, ...]
    more_scans: tuple[str, ...]
    table: str
    phantoms: tuple[int, ...]
    validation_phantom: int
    slices: str
    validation_every: int
    negatives: str
    slice_spacing_mm: tuple[float, float, float]
    surely_liver_hu: float
    licence: str
    same_patient: dict[str, str]
    folds: tuple[tuple[str, ...], ...]
    """The cases that each fold leaves out; all scans of a patient are in the same one."""
    rebuild_epochs: int
    recipe: dict[str, Any]

    @property
    def case_ids(self) -> tuple[str, ...]:
        """The cases of `scans`."""
        return tuple(scan.partition("/")[2] for scan in self.scans)

    @property
    def check_cases(self) -> tuple[str, str]:
        """The cases on which a file of reduced precision is compared."""
        return self.lesion_case, self.healthy_case

    @classmethod
    def read(cls, path: Path = DEFAULT_FILE) -> "TrialData":
        """Read a TOML file that has every field.

        Raises:
            DatasetError: it is not TOML, or lacks a field or has another.
        """
        try:
            fields: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
            for name, value in fields.items():
                fields[name] = _tuples(value)
            return cls(**fields)
        except (TypeError, ValueError) as error:
            raise DatasetError(f"{path}: not the data of a trial: {error}") from error


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def variant(name: str, settings: dict[str, Any]) -> Recipe:
    """The recipe of a variant.

    Args:
        name: a key of `VARIANTS`, or `BASELINE_NAME`.
        settings: common to all variants of the default recipe.
    """
    if name == BASELINE_NAME:
        classes, thresholds = DEFAULT.classes, DEFAULT.thresholds
        return replace(BASELINE, classes=classes, thresholds=thresholds)
    return replace(DEFAULT, **settings | VARIANTS[name])
