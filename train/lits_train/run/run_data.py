"""The data of a run: checked, split into training and validation, and loaded in batches."""

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
"""Batches that every loading process prefetches."""
_BYTES_PER_PIXEL = 5
"""float32 HU and uint8 labels; the shares of a slice count as one more slice."""


@dataclass(frozen=True)
class RunData:
    """What a run trains on, and what it is validated on."""

    usable: list[Case]
    training: SliceDataset
    validation: SliceDataset
    order: EpochBatches
    training_batches: DataLoader[Loaded]
    validation_batches: DataLoader[Loaded]
    skipped: dict[str, str]
    """By case ID, why a case is unusable."""


def open_data(cases: Sequence[Case], recipe: Recipe, run: RunSettings, world: World) -> RunData:
    """Check the cases, split the usable ones, and prepare to load them.

    Raises:
        DatasetError: no case is usable, or those to hold out are missing.
        TrainingError: there are more processes than slices in a batch.
    """
    usable, skipped = usable_cases(cases)
    training_cases, validation_cases = held_out(usable, run)
    if training_cases == validation_cases:
        logger.warning("one usable case: it is used for both training and validation")
    _report_validation_classes(validation_cases, recipe)
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
    options = _loader_options(run, world)
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


def _loader_options(run: RunSettings, world: World) -> dict[str, Any]:
    return {
        "num_workers": run.workers,
        "persistent_workers": run.workers > 0,
        "prefetch_factor": _PREFETCHED if run.workers else None,
        "pin_memory": world.device.type == "cuda",
        "worker_init_fn": _ignore_ctrl_c,
        "collate_fn": loaded,
        "generator": torch.Generator(),  # must not consume the run's random numbers
    }


def _loader(slices: ReadableSlices, **options: Any) -> DataLoader[Loaded]:
    loader: DataLoader[Any] = DataLoader(slices, **options)
    return loader


def require_shared_memory(recipe: Recipe, run: RunSettings, world: World) -> None:
    """Make sure that shared memory has room for the batches of loading processes.

    Raises:
        TrainingError: it has not, and a loading process would be killed during the run.
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
            f"processes need {gigabytes(needed)}: enlarge it (docker run --shm-size), or use "
            "fewer --workers; 0 needs none"
        )


def _report_validation_classes(cases: Sequence[Case], recipe: Recipe) -> None:
    """Log in how many validation cases each class occurs; without any it is not scored."""
    for name in recipe.classes:
        labelled = [case for case in cases if name != "lesion" or not case.liver_only]
        labels = slice(1, None) if name == "liver" else slice(2, 3)
        seen = sum(bool(np.any(case.label_counts[:, labels])) for case in labelled)
        if seen:
            logger.info("validation: %d of %d cases show %s", seen, len(cases), name)
            continue
        logger.warning(
            "validation: none of %d cases shows %s; it is not scored and has no influence on the "
            "best epoch",
            *(len(cases), name),
        )


def _ignore_ctrl_c(worker: int) -> None:
    """Leave Ctrl-C, which a terminal sends to loading processes as well, to their parent."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
