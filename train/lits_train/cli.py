"""lits-train: train a segmentation network on LiTS-style pairs of NIfTI files."""

from pathlib import Path
from typing import Any

import click

from lits_runtime.command import Command, shared_options


@click.command(cls=Command)
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder of the run: checkpoints and metrics.",
)
@click.option(
    "--recipe",
    type=click.Choice(["default", "seed"]),
    default="default",
    show_default=True,
    help="Settings of network, input and training.",
)
@click.option(
    "--weights",
    default="imagenet",
    show_default=True,
    metavar="imagenet|none|FILE",
    help="Start of the encoder; FILE is .pth or .safetensors, of RegNetY-400MF or of a run.",
)
@click.option("--epochs", type=click.IntRange(1), help="Override the recipe's.")
@click.option("--size", type=click.IntRange(32), help="Working size; override the recipe's.")
@click.option("--batch-size", type=click.IntRange(1), help="Override the recipe's.")
@click.option(
    "--learning-rate", type=click.FloatRange(0, min_open=True), help="Override the recipe's."
)
@click.option(
    "--validation-fraction",
    type=click.FloatRange(0, 1, True, True),
    default=0.2,
    show_default=True,
    help="Part of the cases held out to score.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of split and order.")
@click.option("--device", help="Torch device.  [default: cuda where it works, else cpu]")
@click.option("--bf16", is_flag=True, help="bfloat16 autocast on the CPU.")
@click.option("--workers", type=click.IntRange(0), help="Loading processes.  [default: 4, cpu: 0]")
@click.option("--resume", is_flag=True, help="Go on after the last complete epoch.")
@shared_options
def main(data: Path, output: Path, recipe: str, **options: Any) -> None:
    """Train on DATA: pairs volume-ID.nii[.gz] / segmentation-ID.nii[.gz], or lits-data prepare's.

    The best epoch's weights go to OUTPUT/regnet_lits_tumor_segmentation_trained.pth. Ctrl-C keeps
    the last complete epoch; the same command with --resume goes on after it.
    """
    import torch

    from lits_train.loop import RunSettings, train
    from lits_train.prepared import open_cases
    from lits_train.recipe import RECIPES

    overrides = ("epochs", "size", "batch_size", "learning_rate")
    try:
        settings = RECIPES[recipe].override(**{key: options.pop(key) for key in overrides})
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    device = options.pop("device") or ("cuda" if torch.cuda.is_available() else "cpu")
    workers = options.pop("workers")
    workers = (4 if device.startswith("cuda") else 0) if workers is None else workers
    run = RunSettings(output, device=device, workers=workers, **options)
    result = train(open_cases(data), settings, run)
    scores = ", ".join(f"{name} {dice:.3f}" for name, dice in result.validation_dice.items())
    click.echo(f"{result.checkpoint}: validation Dice {scores}", err=True)
    for case_id, reason in result.skipped.items():
        click.echo(f"skipped case {case_id}: {reason}", err=True)
