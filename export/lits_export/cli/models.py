"""lits-export inspect and lits-export triton: what is done with a model once it is exported."""

import json
import logging
from pathlib import Path

import click

from lits_runtime.cli.command import Command, shared_options
from lits_runtime.cli.options.arguments import EXISTING_FILE, NEW_FOLDER
from lits_runtime.files.output_rule import Inputs, check_folder

logger = logging.getLogger(__name__)
_MODEL = click.argument("model", type=EXISTING_FILE)


@click.command(cls=Command)
@_MODEL
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@shared_options
def inspect(model: Path, as_json: bool) -> None:
    """Print what a MODEL says about itself.

    This includes its hash, inputs and outputs, parity with the trained network, training, settings
    and licence. Needs neither torch nor onnx.
    """
    print_description(model, as_json)


def print_description(model: Path, as_json: bool) -> None:
    """Print the description of a model on stdout, as text or as JSON."""
    from lits_runtime.model.description import describe

    description = describe(model)
    click.echo(json.dumps(description.to_json(), indent=1) if as_json else description.text())


@click.command(cls=Command)
@_MODEL
@click.argument("repository", metavar="DIR", type=NEW_FOLDER)
@click.option("-f", "--force", is_flag=True, help="Replace a model of the same name.")
@shared_options
def triton(model: Path, repository: Path, force: bool) -> None:
    """Add a MODEL to the Triton model repository DIR.

    Writes DIR/NAME/config.pbtxt and DIR/NAME/1/model.onnx, where NAME is that of MODEL without
    .onnx. Needs neither torch nor onnx.
    """
    add_to_repository(model, repository, force=force)


def add_to_repository(model: Path, repository: Path, *, force: bool) -> None:
    """Write a model to a Triton model repository; `force` replaces one of the same name.

    Raises:
        ModelError: not a model of lits-export.
        OutputError: there is a model of the same name, or this very model.
    """
    from lits_export.triton import write_repository

    check_folder(repository / model.stem, Inputs("the model", [model]), force=force)
    logger.info("%s: version 1 for Triton", write_repository(model, repository))
