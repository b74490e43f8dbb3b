"""lits-train: train a segmentation network on pairs of CT volumes and masks."""

import logging
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import click

from lits_runtime.cli.command import Command, section, shared_options
from lits_runtime.cli.options.arguments import EXISTING_FILE, EXISTING_FOLDER, NEW_FOLDER
from lits_runtime.cli.progress import Stop, stopping_on_signals
from lits_runtime.cli.subcommands import CommandWithSubcommands
from lits_runtime.errors import LitsError
from lits_train.cli.recipe_options import overridden, recipe_options
from lits_train.settings.recipe import RECIPES, Recipe
from lits_train.settings.run import PRECISIONS, RunSettings

logger = logging.getLogger(__name__)


class StopOnce(Stop):
    """A request to stop that ignores further signals: torchrun repeats those of the terminal."""

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        self.signal_number = self.signal_number or number


_settings, _validation, _device, _output = map(
    section, ("Recipe", "Validation", "Device", "Output")
)


@click.command(cls=CommandWithSubcommands)
@click.argument("data", type=EXISTING_FOLDER, required=False)
@recipe_options("Recipe", "default", "Settings of the network, its input and its training.")
@_settings("--show-recipe", is_flag=True, help="Print the settings as TOML and exit.")
@_settings("--epochs", metavar="N", help="Short for --set epochs=N.")
@_settings("--size", metavar="N", help="Short for --set size=N, the working size.")
@_settings("--batch-size", metavar="N", help="Short for --set batch_size=N.")
@_settings("--learning-rate", metavar="RATE", help="Short for --set learning_rate=RATE.")
@_settings(
    "--weights",
    default="imagenet",
    show_default=True,
    metavar="imagenet|none|FILE",
    help="Initial weights of the encoder; FILE (.pth or .safetensors) holds those of a "
    "RegNetY-400MF, alone or within a network of this toolkit or of others.",
)
@_validation(
    "--validation-fraction",
    type=click.FloatRange(0, 1, True, True),
    default=0.2,
    show_default=True,
    help="Fraction of the cases to hold out for validation.",
)
@_validation("--folds", type=click.IntRange(0), default=0, help="Hold out one of N folds instead.")
@_validation("--fold", type=click.IntRange(0), default=0, help="The fold to hold out, from 0.")
@_validation(
    "--validation-case",
    "validation_cases",
    multiple=True,
    metavar="ID",
    help="Hold out this case instead. Repeatable.",
)
@_validation(
    "--splits",
    type=EXISTING_FILE,
    help="Train on and hold out what --fold of this splits_final.json of nnU-Net says instead.",
)
@_validation(
    "--validate-every",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of epochs between validations.",
)
@_validation(
    "--full-validation-every",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Validate at full resolution after every Nth epoch as well.  [default: in the end only]",
)
@_validation(
    "--full-validation/--no-full-validation",
    default=True,
    show_default=True,
    help="Validate the best epoch at full resolution in the end, and choose thresholds, "
    "post-processing and search by it.",
)
@_validation(
    "--patience",
    type=click.IntRange(0),
    default=0,
    help="Stop after N epochs without a better score.  [default: never]",
)
@_settings(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Random seed of split, initial weights, order and augmentation.",
)
@_device("--device", help="cpu, cuda, cuda:N or mps.  [default: cuda if available, else cpu]")
@_device(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
    help="Precision of autocast; auto is bf16 or fp16 on CUDA, fp32 on the CPU.",
)
@_device("--bf16", is_flag=True, help="Short for --precision bf16.")
@_device("--compile", is_flag=True, help="Train with torch.compile.")
@_device(
    "--workers",
    type=click.IntRange(0),
    help="Data loading processes.  [default: 4 on CUDA, else 0]",
)
@_output(
    "-o",
    "--output",
    type=NEW_FOLDER,
    help="Folder for checkpoints, metrics and pictures.  [required]",
)
@_output("--tensorboard", is_flag=True, help="Write TensorBoard event files as well.")
@_output(
    "--checkpoint-minutes",
    type=click.FloatRange(0),
    default=10,
    show_default=True,
    help="Minutes between saved states within an epoch; 0 saves after every step.",
)
@_output(
    "--resume",
    is_flag=True,
    help="Resume from the last saved state. Recipe, data, seed, split, weights and precision must "
    "be unchanged; epochs, device, workers, patience and the like may change.",
)
@_output("--allow-changed", is_flag=True, help="Resume even if settings or data have changed.")
@shared_options
def main(data: Path | None, output: Path | None, show_recipe: bool, **options: Any) -> None:
    """Train on DATA: pairs volume-ID.nii[.gz] and segmentation-ID.nii[.gz], or prepared data.

    The weights of the best epoch are saved as OUTPUT/regnet_lits_tumor_segmentation_trained.pth.
    Learning curves are drawn in the end. Ctrl-C and SIGTERM stop the run after the current step and
    save its state; a second signal stops it at once. The same command with --resume continues it,
    also after a crash.

    Several GPUs: torchrun --nproc-per-node N -m lits_train DATA -o OUTPUT ... Every process must
    see DATA and OUTPUT; batch_size is the total over all processes.
    """
    try:
        recipe = _recipe(options)
        if show_recipe:
            from lits_train.settings.overrides import to_toml

            click.echo(to_toml(recipe), nl=False)
            return
        if data is None or output is None:
            raise click.UsageError("Missing argument 'DATA'." if data is None else "Missing -o.")
        run = _run_settings(output, options)
    except ValueError as error:
        raise click.UsageError(" ".join(str(error).split())) from error
    _train(data, recipe, run)


def _recipe(options: dict[str, Any]) -> Recipe:
    """The named recipe, overridden by --config, then by --set, then by the short options."""
    short = ("epochs", "size", "batch_size", "learning_rate")
    given = [*options.pop("settings")]
    given += [f"{name}={value}" for name in short if (value := options.pop(name)) is not None]
    return overridden(RECIPES[options.pop("recipe")], options.pop("config"), given)[0]


def _run_settings(output: Path, options: dict[str, Any]) -> RunSettings:
    import torch

    device = options.pop("device") or ("cuda" if torch.cuda.is_available() else "cpu")
    workers = options.pop("workers")
    workers = (4 if device.startswith("cuda") else 0) if workers is None else workers
    if splits := options.pop("splits"):
        from lits_train.data.imports.splits import cases_of_fold

        if options["folds"] or options["validation_cases"]:
            raise ValueError("--splits, --folds and --validation-case are three ways: give one")
        training, held_out = cases_of_fold(splits, options["fold"])
        options |= {"training_cases": tuple(training), "validation_cases": tuple(held_out)}
        options["fold"] = 0
    if options.pop("bf16"):
        options["precision"] = "bf16"
    return RunSettings(output, device=device, workers=workers, **options)


def _train(data: Path, recipe: Recipe, run: RunSettings) -> None:
    from lits_train.network.checkpoint import LAST_NAME
    from lits_train.prepared.slices import open_cases
    from lits_train.run.distributed import launched_together, leads
    from lits_train.run.readiness import check_device
    from lits_train.training.logs import dice_by_class
    from lits_train.training.loop import train

    check_device(run.device, run.precision)
    with stopping_on_signals(StopOnce() if launched_together() else None) as stop:
        result = train(open_cases(data), recipe, run, stop.requested)

    def say(line: str) -> None:
        if leads():
            click.echo(line, err=True)

    if leads() and result.epochs:
        _report(run.folder)
    if result.stopped:
        say(f"interrupted; --resume continues from {run.folder / LAST_NAME}")
        number = stop.signal_number or signal.SIGTERM  # None: another process received it
        click.get_current_context().exit(128 + number)
    say(f"{result.checkpoint}: validation Dice {dice_by_class(result.validation_dice)}")
    if result.full_dice:
        say(f"at full resolution: Dice {dice_by_class(result.full_dice)}")
    for case_id, reason in result.skipped.items():
        say(f"skipped case {case_id}: {reason}")


@main.command(cls=Command)
@click.argument("run", type=EXISTING_FOLDER)
@shared_options
def report(run: Path) -> None:
    """Draw the learning curves of RUN, the output folder of a training, in whatever state it is.

    Written are RUN/report.html, one self-contained page, and RUN/learning_curves.png: loss,
    validation Dice by class, learning rate and speed of each epoch. Dotted lines show where the run
    was resumed. lits-train does the same when it ends.
    """
    from lits_train.report.page import write_report

    for path in write_report(run):
        click.echo(path)


def _report(folder: Path) -> None:
    """As `report`; what fails is no failure of the training."""
    try:
        from lits_train.report.page import write_report

        logger.info("learning curves: %s", write_report(folder)[0])
    except (ImportError, LitsError, OSError) as error:
        logger.warning("no learning curves: %s; try lits-train report %s", error, folder)


if __name__ == "__main__":
    main()
