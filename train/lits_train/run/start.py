"""The start of a run: from random or given weights, or from the saved state of an earlier one."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from lits_runtime.errors import CheckpointError, DatasetError
from lits_runtime.files.output_rule import Inputs, check_targets
from lits_train.limits import shown
from lits_train.network.checkpoint import (
    BEST_NAME,
    LAST_NAME,
    Checkpoint,
    load_checkpoint,
)
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.settings.recipe import Recipe
from lits_train.settings.run import (
    CURVES_NAME,
    FULL_VALIDATION_NAME,
    METRICS_NAME,
    REPORT_NAME,
    RunSettings,
)

logger = logging.getLogger(__name__)

KEPT = (
    "weights",
    "seed",
    "validation_fraction",
    "folds",
    "fold",
    "validation_cases",
    "training_cases",
    "precision",
)
"""Settings that must not change when a run is resumed, because results depend on them. Others may:
where it runs, how often it validates and saves, when it ends."""
KEPT_DATA = ("data_fingerprint", "cases", "validation_cases")


@dataclass(frozen=True)
class Start:
    """What a run starts from; random weights if both are None."""

    encoder: dict[str, Tensor] | None = None
    """Weights of the encoder."""
    checkpoint: Checkpoint | None = None
    """The state to resume from."""


def find_start(recipe: Recipe, run: RunSettings) -> Start:
    """Read what a run starts from, without looking at the data.

    Raises:
        CheckpointError: there is no state to resume, or there is one that would be overwritten, or
            settings have changed; or the initial weights are unusable.
        OutputError: files that a new run would write exist already.
        OSError: a file is not readable.
    """
    last = run.folder / LAST_NAME
    there = last.exists() or last.is_symlink()
    if run.resume and not there:
        raise CheckpointError(
            f"{last} does not exist: nothing was saved yet; start without --resume"
        )
    if not run.resume and there:
        raise CheckpointError(
            f"{last} exists: continue with --resume, or choose another output folder"
        )
    if run.resume:
        checkpoint = load_checkpoint(last)
        _check_settings(checkpoint, recipe, run)
        return Start(checkpoint=checkpoint)
    names = (BEST_NAME, METRICS_NAME, FULL_VALIDATION_NAME, REPORT_NAME, CURVES_NAME)
    check_targets([run.folder / name for name in names], Inputs(), force=False)
    if run.weights == "none":
        return Start()
    network = SegmentationNetwork(recipe)
    network.load_encoder(run.weights)
    return Start(encoder=network.encoder.state_dict())


def kept_settings(run: RunSettings) -> dict[str, Any]:
    """The settings to save with a state."""
    return {name: _plain(getattr(run, name)) for name in KEPT}


def _check_settings(checkpoint: Checkpoint, recipe: Recipe, run: RunSettings) -> None:
    path = run.folder / LAST_NAME
    if not isinstance(checkpoint.resume.get("progress"), Mapping):
        raise CheckpointError(
            f"{path}: contains no training state that this version of lits-toolkit can resume"
        )
    before = {**_plain_fields(checkpoint.recipe)}
    now = {**_plain_fields(recipe)}
    del before["epochs"], now["epochs"]  # a run may be extended
    saved = checkpoint.resume.get("run", {"seed": checkpoint.training.get("seed")})
    if not isinstance(saved, Mapping):
        raise CheckpointError(f"{path}: damaged, its settings are not those that lits-train writes")
    before |= {name: _plain(saved[name]) for name in KEPT if name in saved}
    now |= {name: value for name, value in kept_settings(run).items() if name in saved}
    if changed := _changes(before, now):
        _refuse(f"{path}: trained with other settings: {changed}", run, CheckpointError)


def check_data(checkpoint: Checkpoint, provenance: Mapping[str, Any], run: RunSettings) -> None:
    """Compare the data of a resumed run with those that it started with.

    Raises:
        DatasetError: they differ, and `run.allow_changed` is not set.
    """
    before, now = (
        {name: facts.get(name) for name in KEPT_DATA if name in checkpoint.training}
        for facts in (checkpoint.training, provenance)
    )
    if changed := _changes(before, now):
        path = run.folder / LAST_NAME
        _refuse(f"{path}: trained with other data: {changed}", run, DatasetError)


def _refuse(
    message: str, run: RunSettings, kind: type[CheckpointError] | type[DatasetError]
) -> None:
    if not run.allow_changed:
        raise kind(f"{message}; restore them, or resume with --allow-changed")
    logger.warning("%s; resumed nevertheless", message)


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Differences, as "learning_rate: 0.002 -> 0.001"; empty if there are none."""
    return ", ".join(
        f"{name}: {_text(before[name])} -> {_text(now[name])}"
        for name in before
        if before[name] != now[name]
    )


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value[:20])) or "none"
    return "none" if value is None else shown(value).strip("'")


def _plain_fields(recipe: Recipe) -> dict[str, Any]:
    return {field.name: _plain(getattr(recipe, field.name)) for field in fields(recipe)}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
