"""The data of the trials, as `trial.toml` beside this module describes it."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from lits_runtime.cli.arguments import EXISTING_FILE
from lits_runtime.errors import DatasetError

DEFAULT_FILE = Path(__file__).with_name("trial.toml")

data_option = click.option(
    "--data",
    type=EXISTING_FILE,
    default=DEFAULT_FILE,
    help="TOML file that describes SHARED.  [default: trial.toml beside this module]",
)


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
