"""Rebuild the bundled model, or score its recipe on cases that it does not train on.

    python -m lits_tools.bundled.rebuild SHARED_DATA OUT               # OUT/all/model.onnx
    python -m lits_tools.bundled.rebuild SHARED_DATA OUT --without 44  # scores on case 44, not seen

The same command on the same machine and versions gives the same file.
"""

import json
from pathlib import Path

import click

from lits_runtime.cli.command import Command, shared_options

SETTINGS = {
    "context_slices": 0,
    "ema_decay": 0.99,
    "epoch_slices": 800,
    "epochs": 60,
    "size": 192,
}
"""What differs from the default recipe: there are few cases, most of them single slices without
neighbours, and it is to run on any CPU."""


@click.command(cls=Command)
@click.argument("shared", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
@click.option("--without", multiple=True, metavar="CASE", help="Leave out and score; repeatable.")
@click.option("--name", help="Folder of the run within OUTPUT.  [default: all, or without-CASE]")
@click.option("--recipe", default="default", show_default=True, help="seed: for comparison.")
@click.option(
    "--set", "fields", multiple=True, metavar="FIELD=VALUE", help="Override a setting; repeatable."
)
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@click.option("--resume", is_flag=True, help="Go on where the run was interrupted.")
@shared_options
def main(
    shared: Path,
    output: Path,
    without: tuple[str, ...],
    name: str | None,
    recipe: str,
    fields: tuple[str, ...],
    device: str,
    resume: bool,
) -> None:
    """Prepare the data in SHARED, train, export and score; results go to OUTPUT."""
    from lits_tools.bundled.trial import Trial
    from lits_train.settings.overrides import override
    from lits_train.settings.recipe import RECIPES

    words = dict(field.split("=", 1) for field in fields)
    trial = Trial(
        shared,
        output,
        name or "-".join(["without", *without] if without else ["all"]),
        override(RECIPES[recipe], {**SETTINGS, **words}),
        without,
        device=device,
        resume=resume,
    )
    click.echo(json.dumps(trial.carry_out(), indent=1))


if __name__ == "__main__":
    main()
