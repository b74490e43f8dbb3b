"""Scores on the validation cases, and pictures of some of their slices."""

import contextlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import default_collate

from lits_runtime.errors import LitsError
from lits_runtime.labels import LESION, LIVER
from lits_train.run.state import TrainingState
from lits_train.samples.dataset import Sample, SliceDataset
from lits_train.samples.unreadable import Loaded
from lits_train.training.losses import DiceCounter
from lits_train.training.network_inputs import class_targets, network_inputs, to_device
from lits_train.training.pictures import comparison


@torch.no_grad()
def validate(
    state: TrainingState,
    batches: Iterable[Loaded],
    cases: int,
    stop_requested: Callable[[], bool],
) -> list[float] | None:
    """Dice by class, as the mean over the cases of all processes; None if a stop was requested.

    It is NaN for a class that no case shows. Unreadable slices are left out.

    Args:
        state: has the network to score.
        batches: this process's share of the validation slices.
        cases: their number.
        stop_requested: called before every batch.
    """
    counter = DiceCounter(cases, len(state.recipe.classes))
    state.world.share_buffers(state.evaluated())
    with state.world.failing_together():
        for batch in batches:
            if stop_requested():
                break
            state.skipped.add(batch.unreadable)
            if batch.samples is None:
                continue
            samples = batch.samples
            masks_pred, masks_gt, known = _predict(state, samples)
            counter.add(masks_pred, masks_gt, known, samples["case"])
    if state.world.agree(stop_requested()):
        return None
    state.world.add_up(*counter.counts)
    return counter.mean_dice()


@torch.no_grad()
def picture(state: TrainingState, batch: Sample) -> Tensor:
    """Slices in rows: plain, with the masks of the reference, and with those of the network.

    Returns:
        uint8 (3, height, width).
    """
    masks_pred, masks_gt, _ = _predict(state, batch)
    return comparison(
        batch["hu"][:, state.recipe.context_slices],
        masks_gt.bool().cpu(),
        masks_pred.bool().cpu(),
        state.recipe.classes,
    )


def picture_batch(dataset: SliceDataset, count: int = 4) -> Sample | None:
    """Up to `count` slices: those with most lesion of each case, then those with most liver.

    None if none of them can be read.
    """
    chosen: dict[int, None] = {}
    for label in (LESION, LIVER):
        first = 0
        for case in dataset.cases:
            if case.label_counts[:, label].any():
                chosen[first + int(np.argmax(case.label_counts[:, label]))] = None
            first += case.slices
    samples = []
    for index in list(chosen)[:count] or [0]:
        with contextlib.suppress(LitsError, OSError):  # validation has reported it
            samples.append(dataset[index])
    return default_collate(samples) if samples else None


def _predict(state: TrainingState, batch: Sample) -> tuple[Tensor, Tensor, Tensor]:
    """Masks of the network and of the reference, and where the latter is known."""
    batch = to_device(batch, state.world.device)
    scaled, _, known = network_inputs(batch, state.preprocessing, state.recipe)
    middle = batch["labels"][:, state.recipe.context_slices]
    masks_gt = class_targets(middle, state.recipe.classes)  # whole pixels, also with soft labels
    with state.autocast():
        logits = state.evaluated()(scaled).float()
    logits = functional.interpolate(logits, size=masks_gt.shape[2:], mode="bilinear")
    thresholds: Sequence[float] = state.recipe.thresholds
    least = torch.tensor(thresholds, device=logits.device).view(1, -1, 1, 1)
    return (logits.sigmoid() >= least).float(), masks_gt, known
