"""What each ingredient of the default recipe gives: trainings that differ in one thing each.

    python -m lits_tools.bundled.ablation SHARED OUT                # all variants; can be resumed
    python -m lits_tools.bundled.ablation SHARED OUT "no skips"     # this one
    python -m lits_tools.bundled.ablation SHARED OUT --seed 1       # all of them with other draws
    python -m lits_tools.bundled.ablation SHARED OUT --table        # scores and speeds

Cases 44 and 1003, and the patient of 44 under his other name, are left out of all of them: liver
and lesions are scored on scans that no variant has seen.
"""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from lits_runtime.cli.command import Command, shared_options

logger = logging.getLogger(__name__)

WITHOUT = ("44", "1003")
SEEDS = 10
"""Runs that a variant may have, numbered from 0."""
BASE: dict[str, Any] = {
    "ema_decay": 0.99,
    "epoch_slices": 800,
    "epochs": 15,
    "size": 192,
    "decoder_channels": (64, 32, 24, 16),
}
"""Of every variant of the default recipe: 750 steps of 16 slices.

The recipe's decoder was as wide until "narrow decoder" turned out to lose nothing.
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
SEED_NAME = "seed"
"""The seed recipe for the minutes that "default" took, beside its lesions with a liver channel, so
that the two can be compared."""


@click.command(cls=Command)
@click.argument("shared", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
@click.argument("variants", nargs=-1)
@click.option(
    "--seed", type=click.IntRange(0, SEEDS - 1), default=0, show_default=True, help="Of the draws."
)
@click.option("--table", is_flag=True, help="Train nothing: tell what is there, over all seeds.")
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@shared_options
def main(
    shared: Path, output: Path, variants: tuple[str, ...], seed: int, table: bool, device: str
) -> None:
    """Train VARIANTS (default: all, then the seed recipe) in OUTPUT on the scans in SHARED."""
    chosen = variants or (*VARIANTS, SEED_NAME)
    if unknown := set(chosen) - {*VARIANTS, SEED_NAME}:
        raise click.UsageError(f"{sorted(unknown)}: expected some of {[*VARIANTS, SEED_NAME]}")
    if table:
        from lits_tools.bundled.ablation_table import rows, written

        runs = {name: [folder_name(name, n) for n in range(SEEDS)] for name in chosen}
        click.echo(written(rows(output, runs)))
        return
    for name in chosen:
        _train(shared, output, name, seed, device)


def folder_name(variant: str, seed: int) -> str:
    """Where a variant's run lies within OUTPUT.

    >>> folder_name("no skips", 0)
    'ablation-no-skips-0'
    """
    return f"ablation-{variant.replace(' ', '-')}-{seed}"


def _train(shared: Path, output: Path, name: str, seed: int, device: str) -> None:
    from lits_tools.bundled.trial import SCORES_NAME, Trial
    from lits_train.network.checkpoint import LAST_NAME
    from lits_train.settings.recipe import BASELINE, DEFAULT

    folder = output / folder_name(name, seed)
    if (folder / SCORES_NAME).exists():
        logger.info("%s: done", name)
        return
    minutes = None
    if name == SEED_NAME:
        settings: dict[str, Any] = {
            "classes": ("liver", "lesion"),
            "thresholds": (0.5, 0.5),
            "epochs": 10_000,
        }
        recipe = replace(BASELINE, **settings)
        reference = output / folder_name("default", seed) / SCORES_NAME
        if not reference.exists():
            raise click.UsageError('"seed" takes the minutes of "default": train that first')
        minutes = float(json.loads(reference.read_text())["minutes"])
    else:
        recipe = replace(DEFAULT, **BASE | VARIANTS[name])
    trial = Trial(
        shared,
        output,
        folder.name,
        recipe,
        WITHOUT,
        precision="fp32",
        minutes=minutes,
        seed=seed,
        device=device,
        resume=(folder / LAST_NAME).exists(),
    )
    logger.info("%s: %s", name, trial.carry_out())


if __name__ == "__main__":
    main()
