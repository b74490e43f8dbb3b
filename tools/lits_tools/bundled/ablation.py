"""What each ingredient of the default recipe contributes: trainings that differ in one setting.

    python -m lits_tools.bundled.ablation SHARED OUT                # all variants; can be resumed
    python -m lits_tools.bundled.ablation SHARED OUT "no skips"     # one variant
    python -m lits_tools.bundled.ablation SHARED OUT --seed 1       # all variants, another seed
    python -m lits_tools.bundled.ablation SHARED OUT --table        # scores and speeds

Every training leaves out the lesion case and the healthy case of `trial.toml`, with all other cases
of these patients: liver and lesions are scored on scans that no variant has seen.
"""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lits_runtime.cli.arguments import EXISTING_FOLDER, NEW_FOLDER
from lits_runtime.cli.command import Command, shared_options
from lits_tools.bundled.settings import TrialData, data_option

if TYPE_CHECKING:
    from lits_train.settings.recipe import Recipe

logger = logging.getLogger(__name__)

SEEDS = 10
"""Runs that a variant may have; their seeds are numbered from 0."""
BASE: dict[str, Any] = {
    "ema_decay": 0.99,
    "epoch_slices": 800,
    "epochs": 15,
    "size": 192,
    "decoder_channels": (64, 32, 24, 16),
}
"""Common to all variants of the default recipe: 750 steps of 16 slices.

The decoder is as wide as the recipe's was until "narrow decoder" proved no worse.
"""
_STILL: dict[str, Any] = {"rotation_degrees": 0, "zoom": 0, "shift": 0, "elastic": 0}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "no skips": {"skip_connections": False},
    "no context": {"context_slices": 0},
    "no window": {"window_hu": None},
    "no geometric augmentation": _STILL,
    "no intensity augmentation": {"intensity_augmentation": 0},
    "no synthetic lesions": {"synthetic_lesions": 0},
    "no average": {"ema_decay": 0},
    "no Dice term": {"dice_weight": 0},
    "focal": {"focal_gamma": 2},
    "slices as they come": {"lesion_share": 0, "liver_share": 0},
    "narrow decoder": {"decoder_channels": (32, 24, 16, 16)},
    "wide decoder": {"decoder_channels": (256, 128, 64, 32)},
    "five stages": {"decoder_channels": (64, 32, 24, 16, 16)},
    "size 128": {"size": 128},
    "size 256": {"size": 256},
}
BASELINE_NAME = "baseline"
"""The baseline recipe for as many minutes as "default" took; it predicts the liver as well, so that
the two can be compared."""


@click.command(cls=Command)
@click.argument("shared", type=EXISTING_FOLDER)
@click.argument("output", type=NEW_FOLDER)
@click.argument("variants", nargs=-1)
@click.option(
    "--seed",
    type=click.IntRange(0, SEEDS - 1),
    default=0,
    show_default=True,
    help="Random seed of the trainings.",
)
@click.option("--table", is_flag=True, help="Only print the finished runs, over all seeds.")
@data_option
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@shared_options
def main(
    shared: Path,
    output: Path,
    variants: tuple[str, ...],
    seed: int,
    table: bool,
    data: Path,
    device: str,
) -> None:
    """Train VARIANTS (default: all, then the baseline) in OUTPUT on the data in SHARED."""
    selected = variants or (*VARIANTS, BASELINE_NAME)
    if unknown := set(selected) - {*VARIANTS, BASELINE_NAME}:
        known = ", ".join([*VARIANTS, BASELINE_NAME])
        raise click.UsageError(f"{', '.join(sorted(unknown))}: expected some of {known}")
    described = TrialData.read(data)
    if table:
        from lits_tools.bundled.ablation_table import markdown, rows

        runs = {name: [folder_name(name, n) for n in range(SEEDS)] for name in selected}
        click.echo(markdown(rows(output, runs, described)))
        return
    for name in selected:
        _train(described, shared, output, name, seed, device)


def folder_name(variant: str, seed: int) -> str:
    """The folder of a variant's run within OUTPUT.

    >>> folder_name("no skips", 0)
    'ablation-no-skips-0'
    """
    return f"ablation-{variant.replace(' ', '-')}-{seed}"


def _train(data: TrialData, shared: Path, output: Path, name: str, seed: int, device: str) -> None:
    from lits_tools.bundled.trial import SCORES_NAME, Trial
    from lits_train.network.checkpoint import LAST_NAME
    from lits_train.settings.recipe import DEFAULT

    folder = output / folder_name(name, seed)
    if (folder / SCORES_NAME).exists():
        logger.info("%s: done", name)
        return
    minutes = None
    if name == BASELINE_NAME:
        recipe = _baseline()
        reference = output / folder_name("default", seed) / SCORES_NAME
        if not reference.exists():
            raise click.UsageError(
                f'"{name}" trains for as long as "default" did: train "default" first'
            )
        minutes = float(json.loads(reference.read_text())["minutes"])
    else:
        recipe = replace(DEFAULT, **BASE | VARIANTS[name])
    trial = Trial(
        data,
        shared,
        output,
        folder.name,
        recipe,
        data.unseen,
        precision="fp32",
        minutes=minutes,
        seed=seed,
        device=device,
        resume=(folder / LAST_NAME).exists(),
    )
    logger.info("%s: %s", name, trial.carry_out())


def _baseline() -> "Recipe":
    from lits_train.settings.recipe import BASELINE

    return replace(BASELINE, classes=("liver", "lesion"), thresholds=(0.5, 0.5), epochs=10_000)


if __name__ == "__main__":
    main()
