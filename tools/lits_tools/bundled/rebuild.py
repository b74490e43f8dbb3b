"""Rebuild the bundled model: trained on all cases, with the settings that the folds chose.

    python -m lits_tools.bundled.rebuild SHARED OUT --choice OUT/default/choice.json

The file is OUT/all/model.onnx. The same command on the same machine with the same versions gives
the same file.
"""

import json
from pathlib import Path

import click

from lits_runtime.cli.command import Command, shared_options
from lits_runtime.cli.options.arguments import EXISTING_FILE, EXISTING_FOLDER, NEW_FOLDER
from lits_tools.bundled.settings import TrialData, data_option


@click.command(cls=Command)
@click.argument("shared", type=EXISTING_FOLDER)
@click.argument("output", type=NEW_FOLDER)
@click.option(
    "--without", multiple=True, metavar="CASE", help="Case to leave out of training; repeatable."
)
@click.option("--name", help="Folder of the run within OUTPUT.  [default: all, or without-CASE]")
@click.option("--recipe", default="default", show_default=True, help="Recipe to start from.")
@click.option(
    "--set", "fields", multiple=True, metavar="FIELD=VALUE", help="Override a setting; repeatable."
)
@data_option
@click.option(
    "--choice",
    type=EXISTING_FILE,
    help="What the folds chose, from folds score; without it, nothing is cleaned up.",
)
@click.option("--export-only", is_flag=True, help="Export what is trained so far.")
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@click.option("--resume", is_flag=True, help="Resume an interrupted run.")
@shared_options
def main(
    shared: Path,
    output: Path,
    without: tuple[str, ...],
    name: str | None,
    recipe: str,
    fields: tuple[str, ...],
    data: Path,
    choice: Path | None,
    export_only: bool,
    device: str,
    resume: bool,
) -> None:
    """Prepare the data in SHARED, train and export; everything is written to OUTPUT."""
    from lits_tools.bundled.trial import Trial
    from lits_train.settings.inference import Inference
    from lits_train.settings.overrides import override
    from lits_train.settings.recipe import RECIPES

    described = TrialData.read(data)
    overrides: dict[str, object] = {"epochs": described.rebuild_epochs}
    overrides |= dict(field.split("=", 1) for field in fields)
    trial = Trial(
        described,
        shared,
        output,
        name or "-".join(["without", *without] if without else ["all"]),
        override(RECIPES[recipe], {**described.recipe, **overrides}),
        without,
        device=device,
        resume=resume,
    )
    inference = Inference.from_json(json.loads(choice.read_text())) if choice else None
    if not export_only:
        trial.train()
    click.echo(trial.export(inference))


if __name__ == "__main__":
    main()
