"""The training loop: epochs of slices, a Dice score on validation cases, two checkpoints.

    run = RunSettings(folder=Path("run"), seed=0)
    train(find_cases(Path("lits")), SEED, run)

RUN then holds `regnet_lits_tumor_segmentation_trained.pth`, the best epoch by validation Dice;
`last.pth`, the latest state with all that `--resume` needs; `metrics.jsonl`, a line for each epoch;
and `pictures`, validation slices of each validated epoch. Order, augmentation and learning rate of
a step depend on seed and step alone, so that a run resumed at any step, or spread over several
processes, goes the way of an undisturbed one.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader

from lits_runtime.errors import TrainingError
from lits_train.augment import augment
from lits_train.cases import Case, fingerprint, usable_cases
from lits_train.checkpoint import BEST_NAME
from lits_train.dataset import Sample, SliceDataset
from lits_train.distributed import World, processes
from lits_train.folds import held_out
from lits_train.inputs import network_inputs, to_device
from lits_train.logs import RunLog
from lits_train.losses import segmentation_loss
from lits_train.provenance import software_versions
from lits_train.recipe import Recipe
from lits_train.run import RunSettings, TrainingResult
from lits_train.sampling import EpochBatches, sample_seeds, slice_kinds
from lits_train.state import TrainingState
from lits_train.validation import picture, picture_batch, validate

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Data:
    usable: list[Case]
    training: SliceDataset
    validation: SliceDataset
    order: EpochBatches
    training_batches: DataLoader[Sample]
    validation_batches: DataLoader[Sample]
    skipped: dict[str, str]


def train(
    cases: Sequence[Case],
    recipe: Recipe,
    run: RunSettings,
    stop_requested: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Train a recipe on cases until its epochs are done, patience ends, or a stop is asked for.

    Started by torchrun, this is one process of several that train together; each of them calls it.

    Args:
        cases: from `find_cases`; those that cannot be read are skipped.
        recipe: how to train.
        run: on what, from where, for how long.
        stop_requested: asked before each step; the state is then saved, and the result says so.

    Raises:
        DatasetError: no case is usable, or a resumed run finds other data than it started with.
        CheckpointError: starting weights or the checkpoint to resume are not usable.
        TrainingError: the loss is not finite, or another process failed; the last saved state and
            the best checkpoint stay.
    """
    with processes(run.device) as world:
        with world.failing_together():
            data = _open_data(cases, recipe, run, world)
            state = TrainingState(recipe, run, world, _provenance(data, run), data.order.steps)
            log = RunLog(state)
        stopped = world.agree(stop_requested())
        world.check_same("data, settings and state", (recipe, state.provenance, state.step))
        with log:
            while not stopped and not state.finished:
                stopped = not _run_epoch(state, data, log, stop_requested)
        with world.failing_together():
            if stopped:
                state.save()
        world.agree(stopped)  # all leave once everything is written
    return TrainingResult(
        run.folder / BEST_NAME, state.epoch, state.best_dice, data.skipped, stopped
    )


def _open_data(cases: Sequence[Case], recipe: Recipe, run: RunSettings, world: World) -> _Data:
    usable, skipped = usable_cases(cases)
    training_cases, validation_cases = held_out(usable, run)
    if training_cases == validation_cases:
        logger.warning("one usable case: validation scores are on the training case itself")
    training = SliceDataset(training_cases, recipe)
    validation = SliceDataset(validation_cases, recipe)
    if min(recipe.batch_size, recipe.epoch_slices or len(training)) < world.size:
        raise TrainingError(
            f"{world.size} processes share batches of {recipe.batch_size} from {len(training)} "
            "slices: use fewer processes or a larger batch_size"
        )
    order = EpochBatches(
        slice_kinds(training_cases), recipe, run.seed, rank=world.rank, size=world.size
    )
    options: dict[str, Any] = {
        "num_workers": run.workers,
        "persistent_workers": run.workers > 0,
        "pin_memory": world.device.type == "cuda",
        "worker_init_fn": _ignore_ctrl_c,
        "generator": torch.Generator(),  # loading must not take from the run's random numbers
    }
    share = world.share(range(len(validation)))
    return _Data(
        usable,
        training,
        validation,
        order,
        DataLoader(training, batch_sampler=order, **options),
        DataLoader(validation, sampler=share, batch_size=recipe.batch_size, **options),
        skipped,
    )


def _provenance(data: _Data, run: RunSettings) -> dict[str, Any]:
    return {
        "data_fingerprint": fingerprint(data.usable),
        "cases": [case.case_id for case in data.training.cases],
        "validation_cases": [case.case_id for case in data.validation.cases],
        "starting_weights": run.weights,
        "seed": run.seed,
        **software_versions(),
    }


def _run_epoch(
    state: TrainingState, data: _Data, log: RunLog, stop_requested: Callable[[], bool]
) -> bool:
    """What the epoch in hand still lacks; False: a stop was asked for."""
    started, first = time.perf_counter(), state.step
    if not _train_epoch(state, data, log, stop_requested):
        return False
    training_s = time.perf_counter() - started
    slices = (state.step - first) * len(data.order.whole_batch(0))
    epoch, dice = state.epoch + 1, None
    due = epoch % state.run.validate_every == 0 or epoch == state.recipe.epochs
    if due:
        cases = len(data.validation.cases)
        dice = validate(state, data.validation_batches, cases, stop_requested)
        if dice is None:
            return False
    with state.world.failing_together():
        metrics = state.complete_epoch(dice) | {
            "learning_rate": state.rate,
            "slices_per_s": slices / training_s,
            "seconds": time.perf_counter() - started,
        }
        wanted = due and state.world.leads
        log.epoch(metrics, picture(state, picture_batch(data.validation)) if wanted else None)
        state.save()
    return True


def _train_epoch(
    state: TrainingState, data: _Data, log: RunLog, stop_requested: Callable[[], bool]
) -> bool:
    """The steps that the epoch in hand still lacks; False: a stop was asked for."""
    world = state.world
    state.network.train()
    first = state.step - state.epoch * state.epoch_steps
    data.order.start(state.epoch + 1, first)
    batches: Iterator[Sample] = iter(())
    for position in range(first, state.epoch_steps):
        with world.failing_together():
            batches = iter(data.training_batches) if position == first else batches
            batch = next(batches)
        if world.agree(stop_requested()):
            return False
        whole = data.order.whole_batch(position)
        try:
            loss, norm = _take_step(state, batch, len(whole))
        except FloatingPointError as error:
            raise TrainingError(
                f"step {state.step + 1} of epoch {state.epoch + 1}: {error}; the batch was "
                f"{_named(data.training, whole)}. What is saved is from before; look at "
                "these slices, or lower learning_rate"
            ) from error
        log.step(loss, norm)
        with world.failing_together():
            state.save_if_due()
    return True


def _take_step(state: TrainingState, batch: Sample, whole: int) -> tuple[float, float]:
    """One step on this process's share of a global batch of `whole` slices: loss and norm."""
    seeds = sample_seeds(state.run.seed, state.step, state.world.share(range(whole)))
    torch.manual_seed(seeds[0])
    batch = augment(to_device(batch, state.world.device), state.recipe, seeds)
    scaled, masks_gt, known = network_inputs(batch, state.preprocessing, state.recipe)
    with state.autocast():
        logits = state.model(scaled)
    loss = segmentation_loss(logits, masks_gt, known, state.recipe, state.world.total)
    return state.optimise(loss)


def _named(dataset: SliceDataset, indices: Sequence[int]) -> str:
    """The slices at indices of the data set, by case."""
    slices: dict[str, list[int]] = {}
    for case_index, number in sorted(dataset.index[index] for index in indices):
        slices.setdefault(dataset.cases[case_index].case_id, []).append(number)
    return "; ".join(
        f"case {case_id} slices {', '.join(map(str, numbers))}"
        for case_id, numbers in slices.items()
    )


def _ignore_ctrl_c(worker: int) -> None:
    """A terminal sends Ctrl-C to loading processes too; their parent ends them when it is done."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
