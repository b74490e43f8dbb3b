"""lits-train: train a segmentation network on LiTS-style pairs of NIfTI files."""

import signal
from pathlib import Path
from typing import Any

import click

from lits_runtime.cli.command import Command, shared_options
from lits_runtime.cli.progress import stopping_on_signals
from lits_train.settings.recipe import RECIPES, Recipe
from lits_train.settings.run import PRECISIONS, RunSettings


@click.command(cls=Command)
@click.argument(
    "data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False
)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the run: checkpoints, metrics, pictures.  [required]",
)
@click.option(
    "--recipe",
    type=click.Choice(list(RECIPES)),
    default="default",
    show_default=True,
    help="Settings of network, input and training.",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file that overrides the recipe's settings.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Override one setting, --config's too; tuples as a,b; repeatable, the last counts.",
)
@click.option("--show-recipe", is_flag=True, help="Print the settings as TOML, and end.")
@click.option("--epochs", metavar="N", help="The same as --set epochs=N.")
@click.option("--size", metavar="N", help="The same as --set size=N: the working size.")
@click.option("--batch-size", metavar="N", help="The same as --set batch_size=N.")
@click.option("--learning-rate", metavar="RATE", help="The same as --set learning_rate=RATE.")
@click.option(
    "--weights",
    default="imagenet",
    show_default=True,
    metavar="imagenet|none|FILE",
    help="Start of the encoder; FILE is .pth or .safetensors, of RegNetY-400MF or of a run.",
)
@click.option(
    "--validation-fraction",
    type=click.FloatRange(0, 1, True, True),
    default=0.2,
    show_default=True,
    help="Part of the cases held out to score.",
)
@click.option("--folds", type=click.IntRange(0), default=0, help="Hold out one of N folds instead.")
@click.option("--fold", type=click.IntRange(0), default=0, help="Which one, from 0.")
@click.option(
    "--validation-case",
    "validation_cases",
    multiple=True,
    metavar="ID",
    help="Hold out this case instead; repeatable.",
)
@click.option(
    "--validate-every",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Epochs between validations.",
)
@click.option(
    "--patience",
    type=click.IntRange(0),
    default=0,
    help="Stop after so many epochs without a better score.  [default: never]",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of split, order, draws."
)
@click.option("--device", help="Torch device.  [default: cuda where it works, else cpu]")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    show_default=True,
    help="Of autocast; auto: bf16 or fp16 on CUDA, fp32 on the CPU.",
)
@click.option("--bf16", is_flag=True, help="The same as --precision bf16.")
@click.option("--compile", is_flag=True, help="Train through torch.compile.")
@click.option("--workers", type=click.IntRange(0), help="Loading processes.  [default: 4, cpu: 0]")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard's event files too.")
@click.option(
    "--checkpoint-minutes",
    type=click.FloatRange(0),
    default=10,
    show_default=True,
    help="Time between saved states within an epoch; 0: each step.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on from the last saved state. Recipe, data, seed, split, weights and precision must "
    "be those of before; epochs, device, workers, patience and the like may change.",
)
@click.option(
    "--allow-changed", is_flag=True, help="Resume although settings or data have changed."
)
@shared_options
def main(data: Path | None, output: Path | None, show_recipe: bool, **options: Any) -> None:
    """Train on DATA: pairs volume-ID.nii[.gz] / segmentation-ID.nii[.gz], or lits-data prepare's.

    The best epoch's weights go to OUTPUT/regnet_lits_tumor_segmentation_trained.pth. Ctrl-C and
    SIGTERM finish the step in hand and save the state, a second one ends at once; the same command
    with --resume goes on from there, as it does from the last saved state after a crash.

    Several GPUs: torchrun --nproc-per-node N -m lits_train DATA -o OUTPUT ... All processes
    need to see DATA and OUTPUT; batch_size is that of all together.
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
    """The named recipe, changed by --config, then by --set, then by the short options."""
    from lits_train.settings.overrides import override, read_toml

    recipe, config = RECIPES[options.pop("recipe")], options.pop("config")
    if config:
        recipe = override(recipe, read_toml(config))
    words: dict[str, object] = {}
    for setting in options.pop("settings"):
        name, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set {setting}: expected FIELD=VALUE")
        words[name.strip()] = value
    for name in ("epochs", "size", "batch_size", "learning_rate"):
        if (value := options.pop(name)) is not None:
            words[name] = value
    return override(recipe, words)


def _run_settings(output: Path, options: dict[str, Any]) -> RunSettings:
    import torch

    device = options.pop("device") or ("cuda" if torch.cuda.is_available() else "cpu")
    workers = options.pop("workers")
    workers = (4 if device.startswith("cuda") else 0) if workers is None else workers
    if options.pop("bf16"):
        options["precision"] = "bf16"
    return RunSettings(output, device=device, workers=workers, **options)


def _train(data: Path, recipe: Recipe, run: RunSettings) -> None:
    from lits_train.network.checkpoint import LAST_NAME
    from lits_train.prepared.slices import open_cases
    from lits_train.run.distributed import PatientStop, launched_together, leads
    from lits_train.run.readiness import check_device
    from lits_train.training.logs import dice_by_class
    from lits_train.training.loop import train

    check_device(run.device, run.precision)
    with stopping_on_signals(PatientStop() if launched_together() else None) as stop:
        result = train(open_cases(data), recipe, run, stop.requested)

    def say(line: str) -> None:
        if leads():
            click.echo(line, err=True)

    if result.stopped:
        say(f"interrupted; {run.folder / LAST_NAME} is where --resume goes on")
        number = stop.signal_number or signal.SIGTERM  # another process of the run had it
        click.get_current_context().exit(128 + number)
    say(f"{result.checkpoint}: validation Dice {dice_by_class(result.validation_dice)}")
    for case_id, reason in result.skipped.items():
        say(f"skipped case {case_id}: {reason}")


if __name__ == "__main__":
    main()
