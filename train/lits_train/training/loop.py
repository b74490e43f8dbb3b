"""The training loop: epochs of slices, validation Dice by case, and two checkpoints.

    run = RunSettings(folder=Path("run"), seed=0)
    train(find_cases(Path("lits")), DEFAULT, run)

The folder then contains `regnet_lits_tumor_segmentation_trained.pth`, the weights of the best epoch
by validation Dice; `last.pth`, the latest state for `--resume`; `metrics.jsonl`, a line per epoch;
`full_validation.json`, scores of the best epoch at full resolution; and `pictures` of validation
slices. Order, augmentation and learning rate of a step depend on seed and step only, so that a run
that was interrupted and resumed equals one that was not.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from lits_runtime.errors import DatasetError, LitsError, TrainingError
from lits_runtime.messages import brief
from lits_train.data.cases import Case
from lits_train.network.checkpoint import BEST_NAME
from lits_train.run.distributed import World, processes
from lits_train.run.readiness import check_device, check_run
from lits_train.run.run_data import RunData, open_data
from lits_train.run.start import find_start
from lits_train.run.state import TrainingState
from lits_train.samples.augment import augment
from lits_train.samples.dataset import Sample, SliceDataset
from lits_train.samples.epoch_order import sample_seeds
from lits_train.samples.unreadable import Loaded
from lits_train.settings.recipe import Recipe
from lits_train.settings.run import RunSettings, TrainingResult
from lits_train.training.judging import judge, judge_best
from lits_train.training.logs import RunLog
from lits_train.training.losses import segmentation_loss
from lits_train.training.network_inputs import network_inputs, to_device
from lits_train.training.provenance import provenance
from lits_train.training.validation import picture, picture_batch, validate

_NO_MEMORY = re.compile("can't allocate memory|not enough memory|out of memory", re.IGNORECASE)


def train(
    cases: Sequence[Case],
    recipe: Recipe,
    run: RunSettings,
    stop_requested: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Train a recipe until its epochs are done, patience runs out, or a stop is requested.

    Under torchrun, every process calls this.

    Args:
        cases: from `find_cases`; unreadable ones are skipped.
        recipe: what to train, and how.
        run: settings of the run.
        stop_requested: called before every step; if true, the state is saved.

    Raises:
        DatasetError: no case is usable, no training slice is readable any more, or the data of a
            resumed run have changed.
        CheckpointError: the initial weights or the checkpoint to resume are unusable.
        TrainingError: the device is not available, memory ran out, the loss is not finite, or
            another process failed; saved states and checkpoints are kept.
    """
    check_device(run.device, run.precision)
    with errors_explained(), processes(run.device) as world:
        with world.failing_together():
            state, data = _set_up(cases, recipe, run, world)
            log = RunLog(state)
        stopped = _run_epochs(state, data, log, stop_requested)
        full = None
        if run.full_validation and not world.agree(stopped):
            full = judge_best(state, data.validation.cases, stop_requested)
            stopped = full is None
        _finish(state, stopped)
    return TrainingResult(
        run.folder / BEST_NAME,
        state.epoch,
        state.progress.best_dice,
        full.dice if full else {},
        data.skipped | state.skipped.listed(),
        stopped,
    )


def _run_epochs(
    state: TrainingState, data: RunData, log: RunLog, stop_requested: Callable[[], bool]
) -> bool:
    """Complete the remaining epochs; whether a stop was requested before they were done."""
    stopped = state.world.agree(stop_requested())
    facts = (state.recipe, state.provenance, state.step)
    state.world.check_same("data, settings and state", facts)
    with log:
        while not stopped and not state.finished:
            stopped = not _run_epoch(state, data, log, stop_requested)
    return stopped


def _set_up(
    cases: Sequence[Case], recipe: Recipe, run: RunSettings, world: World
) -> tuple[TrainingState, RunData]:
    check_run(recipe, run, world)
    start = find_start(recipe, run)
    data = open_data(cases, recipe, run, world)
    facts = provenance(data, run)
    return TrainingState(recipe, run, world, facts, data.order.steps, start), data


@contextmanager
def errors_explained() -> Iterator[None]:
    """Explain what torch raises when memory runs out or a loading process is lost.

    Raises:
        TrainingError: in place of torch's error.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, LitsError):
            raise
        if "DataLoader worker" in str(error):
            raise TrainingError(
                f"a loading process was lost ({brief(error)}), most likely for its memory: use "
                "fewer --workers, and continue from the last saved state with --resume"
            ) from error
        out_of_memory = isinstance(error, torch.OutOfMemoryError)
        if out_of_memory or _NO_MEMORY.search(str(error)):
            raise TrainingError(
                f"out of memory ({brief(error)}): use a smaller batch_size, size or decoder"
            ) from error
        raise
    except MemoryError as error:
        raise TrainingError("out of memory: use a smaller batch_size or size") from error


def _finish(state: TrainingState, stopped: bool) -> None:
    """Save the state of a stopped run; no process leaves before everything is written."""
    _share_skipped(state)
    with state.world.failing_together():
        if stopped:
            state.save()
    state.world.agree(stopped)


def _share_skipped(state: TrainingState) -> None:
    """Tell the process that reports what the others could not read."""
    for reasons in state.world.gathered(state.skipped.reasons):
        for case_id, slices in reasons.items():
            for number, reason in slices.items():
                state.skipped.reasons.setdefault(case_id, {}).setdefault(number, reason)


def _run_epoch(
    state: TrainingState, data: RunData, log: RunLog, stop_requested: Callable[[], bool]
) -> bool:
    """Complete the current epoch; False if a stop was requested."""
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
    full = None
    if state.run.full_validation_every and epoch % state.run.full_validation_every == 0:
        full = judge(state, state.evaluated(), data.validation.cases, stop_requested)
        if full is None:
            return False
    _share_skipped(state)
    with state.world.failing_together():
        metrics = state.complete_epoch(dice) | {
            "learning_rate": state.rate,
            "slices_per_s": slices / training_s,
            "seconds": time.perf_counter() - started,
            **({"full_validation": full.to_json()} if full else {}),
        }
        shown = picture_batch(data.validation) if due and state.world.leads else None
        log.epoch(metrics, picture(state, shown) if shown else None)
        state.save()
    return True


def _train_epoch(
    state: TrainingState, data: RunData, log: RunLog, stop_requested: Callable[[], bool]
) -> bool:
    """Take the remaining steps of the current epoch; False if a stop was requested."""
    world = state.world
    state.network.train()
    first = state.step - state.epoch * state.epoch_steps
    data.order.start(state.epoch + 1, first)
    batches: Iterator[Loaded] = iter(())
    for position in range(first, state.epoch_steps):
        with world.failing_together():
            batches = iter(data.training_batches) if position == first else batches
            batch = _readable(next(batches), state)
        if world.agree(stop_requested()):
            return False
        whole = data.order.whole_batch(position)
        try:
            loss, norm = _take_step(state, batch, len(whole))
        except FloatingPointError as error:
            named = _named(data.training, batch, whole, world)
            raise TrainingError(
                f"step {state.step + 1} of epoch {state.epoch + 1}: {error}; the batch was "
                f"{named}. Look at these slices, or lower learning_rate; the last saved state is "
                "kept"
            ) from error
        log.step(loss, norm)
        with world.failing_together():
            state.save_if_due()
    return True


def _take_step(state: TrainingState, batch: Sample, whole: int) -> tuple[float, float]:
    """One step on this process's share of a batch of `whole` slices: loss and gradient norm."""
    seeds = sample_seeds(state.run.seed, state.step, state.world.share(range(whole)))
    torch.manual_seed(seeds[0])
    recipe = state.recipe.at(state.step / state.steps)
    batch = augment(to_device(batch, state.world.device), recipe, seeds)
    scaled, masks_gt, known = network_inputs(batch, state.preprocessing, state.recipe)
    with state.autocast():
        logits = state.model(scaled)
    loss = segmentation_loss(logits, masks_gt, known, state.recipe, state.world.total)
    return state.optimise(loss)


def _readable(batch: Loaded, state: TrainingState) -> Sample:
    """The samples of a batch; slices that could not be read are noted.

    Raises:
        DatasetError: no slice of the training data is readable.
    """
    state.skipped.add(batch.unreadable)
    if batch.samples is None or not batch.whole:
        listed = "; ".join(
            f"case {case_id}: {reason}" for case_id, reason in state.skipped.listed().items()
        )
        raise DatasetError(f"no training slice is readable any more: {listed}")
    return batch.samples


def _named(dataset: SliceDataset, batch: Sample, indices: Sequence[int], world: World) -> str:
    """The slices of a batch by case; with several processes, those that were requested."""
    slices: dict[str, list[int]] = {}
    loaded = list(zip(batch["case"].tolist(), batch["slice"].tolist(), strict=True))
    named = loaded if world.size == 1 else [dataset.index[index] for index in indices]
    for case_index, number in sorted(named):
        slices.setdefault(dataset.cases[case_index].case_id, []).append(number)
    return "; ".join(
        f"case {case_id} slices {', '.join(map(str, numbers))}"
        for case_id, numbers in slices.items()
    )
