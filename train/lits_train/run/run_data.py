"""The data of a run: read and checked, split into training and validation, loaded in batches."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from lits_runtime.errors import TrainingError
from lits_train.data.cases import Case, usable_cases
from lits_train.data.free_space import gigabytes, shared_memory_free
from lits_train.run.distributed import World
from lits_train.samples.dataset import SliceDataset
from lits_train.samples.epoch_order import EpochBatches, slice_kinds, slice_owners
from lits_train.samples.held_out import held_out
from lits_train.samples.unreadable import Loaded, ReadableSlices, loaded
from lits_train.settings.recipe import Recipe
from lits_train.settings.run import RunSettings

logger = logging.getLogger(__name__)

_PREFETCHED = 2
"""Batches that each loading process has ready."""
_BYTES_PER_PIXEL = 5
"""float32 HU and uint8 labels; a slice's shares count as one slice more."""


@dataclass(frozen=True)
class RunData:
    """What a run trains on and what it is scored on."""

    usable: list[Case]
    training: SliceDataset
    validation: SliceDataset
    order: EpochBatches
    training_batches: DataLoader[Loaded]
    validation_batches: DataLoader[Loaded]
    skipped: dict[str, str]
    """Why cases cannot be used, by case ID."""


def open_data(cases: Sequence[Case], recipe: Recipe, run: RunSettings, world: World) -> RunData:
    """Check the cases and open those that can be used.

    Raises:
        DatasetError: no case is usable, or there are not those to hold out.
        TrainingError: there are more processes than slices in a batch.
    """
    usable, skipped = usable_cases(cases)
    training_cases, validation_cases = held_out(usable, run)
    if training_cases == validation_cases:
        logger.warning("one usable case: validation scores are on the training case itself")
    _say_what_validation_sees(validation_cases, recipe)
    training = SliceDataset(training_cases, recipe, recipe.neighbour_reach)
    validation = SliceDataset(validation_cases, recipe)
    if min(recipe.batch_size, recipe.epoch_slices or len(training)) < world.size:
        raise TrainingError(
            f"{world.size} processes share batches of {recipe.batch_size} from {len(training)} "
            "slices: use fewer processes or a larger batch_size"
        )
    kinds = slice_kinds(training_cases)
    order = EpochBatches(
        kinds, recipe, run.seed, world.rank, world.size, slice_owners(training_cases)
    )
    options: dict[str, Any] = {
        "num_workers": run.workers,
        "persistent_workers": run.workers > 0,
        "prefetch_factor": _PREFETCHED if run.workers else None,
        "pin_memory": world.device.type == "cuda",
        "worker_init_fn": _ignore_ctrl_c,
        "collate_fn": loaded,
        "generator": torch.Generator(),  # loading must not take from the run's random numbers
    }
    share = world.share(range(len(validation)))
    readable = ReadableSlices(validation, None)
    return RunData(
        usable,
        training,
        validation,
        order,
        _loader(ReadableSlices(training, kinds), batch_sampler=order, **options),
        _loader(readable, sampler=share, batch_size=recipe.batch_size, **options),
        skipped,
    )


def _loader(slices: ReadableSlices, **options: Any) -> DataLoader[Loaded]:
    loader: DataLoader[Any] = DataLoader(slices, **options)
    return loader


def require_shared_memory(recipe: Recipe, run: RunSettings, world: World) -> None:
    """Make sure that the batches of loading processes fit into shared memory.

    Raises:
        TrainingError: they do not; a loading process would be killed in the middle.
    """
    free = shared_memory_free()
    if not run.workers or free is None:
        return
    around = recipe.context_slices * recipe.neighbour_reach
    slices = math.ceil(recipe.batch_size / world.size) * (2 + 2 * around)
    validation = recipe.batch_size * (2 + 2 * recipe.context_slices)
    batch = max(slices, validation) * recipe.size**2 * _BYTES_PER_PIXEL
    needed = batch * (run.workers * _PREFETCHED + 2)
    if free < needed:
        raise TrainingError(
            f"/dev/shm has {gigabytes(free)} free, and the batches of {run.workers} loading "
            f"processes take {gigabytes(needed)}: give it more (docker run --shm-size), or take "
            "fewer --workers; 0 needs none"
        )


def _say_what_validation_sees(cases: Sequence[Case], recipe: Recipe) -> None:
    """Which classes the validation cases show: of the others no score will tell."""
    for name in recipe.classes:
        told = [case for case in cases if name != "lesion" or not case.liver_only]
        labels = slice(1, None) if name == "liver" else slice(2, 3)
        seen = sum(bool(np.any(case.label_counts[:, labels])) for case in told)
        if seen:
            logger.info("validation: %d of %d cases show %s", seen, len(cases), name)
            continue
        logger.warning(
            "validation: not one of %d cases shows %s; it is not scored and does not choose the "
            "best epoch",
            *(len(cases), name),
        )


def _ignore_ctrl_c(worker: int) -> None:
    """A terminal sends Ctrl-C to loading processes too; their parent ends them when it is done."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
