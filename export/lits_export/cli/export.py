"""lits-export: turn a checkpoint into one verified ONNX file."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lits_export.cli.models import add_to_repository, inspect, print_description, triton
from lits_export.parity.tolerance import TOLERANCES
from lits_runtime.cli.command import section, shared_options
from lits_runtime.cli.options.arguments import (
    EXISTING,
    EXISTING_FILE,
    NEW_FILE,
    NEW_FOLDER,
    force_option,
)
from lits_runtime.cli.subcommands import CommandWithSubcommands
from lits_runtime.files.output_rule import Inputs, check_folder, check_targets
from lits_runtime.model.metadata import DISCLAIMER
from lits_train.cli.recipe_options import overridden, recipe_options

if TYPE_CHECKING:
    from lits_train.network.foreign_weights import Given

logger = logging.getLogger(__name__)


def _engine_names(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[str, ...]:
    if value is None:
        return ()
    from lits_export.parity.engines import ENGINES

    names = tuple(ENGINES) if value == "all" else tuple(value.split(","))
    if unknown := [name for name in names if name not in ENGINES]:
        raise click.BadParameter(f"{unknown}: known are {', '.join(ENGINES)} and all")
    return names


_foreign = section("Weights alone")


@click.command(cls=CommandWithSubcommands)
@click.argument("checkpoint", type=EXISTING_FILE)
@click.option(
    "-o",
    "--output",
    type=NEW_FILE,
    help="Model to write.  [default: CHECKPOINT with the ending .onnx]",
)
@click.option(
    "--precision",
    type=click.Choice(tuple(TOLERANCES)),
    default="fp16-weights",
    show_default=True,
    help="fp16-weights: half the size of fp32, as fast; fp16: for GPUs; int8: for CPUs.",
)
@click.option(
    "--check-on",
    type=EXISTING,
    multiple=True,
    help="Scan, or folder of scans, to compare and calibrate on.  [default: the phantom]",
)
@click.option(
    "--providers",
    metavar="NAME,NAME...|all",
    callback=_engine_names,
    help="Compare in these: cpu, cuda, tensorrt, openvino, reference (of onnx; slow).  [default: "
    "those of cpu, cuda and openvino that load]",
)
@click.option(
    "--max-difference", type=click.FloatRange(0), help="Largest difference of any probability."
)
@click.option("--min-dice", type=click.FloatRange(0, 1), help="Smallest Dice of a class's masks.")
@click.option(
    "--max-volume-difference",
    type=click.FloatRange(0),
    metavar="PERCENT",
    help="Largest difference of a class's volume.  [default: 2 for int8]",
)
@click.option(
    "--worst-slice",
    type=NEW_FILE,
    help="Draw the slice that differs most, as .png or .pdf.",
)
@click.option("--licence", default="Apache-2.0", show_default=True, help="Of the weights.")
@click.option("--intended-use", default=DISCLAIMER, help="Text to embed in the model.")
@recipe_options(
    "Weights alone",
    None,
    "Recipe whose input, classes and thresholds they were trained with.  [default: baseline]",
)
@_foreign("--key", default="", help="Where the weights are in the file, or how their names begin.")
@_foreign(
    "--transposed",
    is_flag=True,
    help="They were trained on transposed slices, as volume[:, :, k] of nibabel.",
)
@_foreign(
    "--module",
    default="",
    metavar="FILE.py:NAME",
    help="Run this function of yours to make the network, where its layers cannot be matched.",
)
@click.option("--inspect", "old_inspect", is_flag=True, hidden=True)
@click.option("--json", "as_json", is_flag=True, hidden=True)
@click.option(
    "--triton",
    "old_triton",
    type=NEW_FOLDER,
    hidden=True,
)
@force_option
@shared_options
def main(
    checkpoint: Path,
    output: Path | None,
    worst_slice: Path | None,
    old_inspect: bool,
    as_json: bool,
    old_triton: Path | None,
    force: bool,
    **asked: Any,
) -> None:
    """Export a CHECKPOINT of lits-train to one ONNX file, and verify its numerical parity.

    CHECKPOINT is the .pth of a training run, or weights alone (.pth or .safetensors) of a network
    with a RegNetY-400MF as its encoder: its layers are matched by order and shape, and what the
    file does not say is assumed, and said. The file is compared with the PyTorch network on slabs
    of CT, which have to show every class, and on boundary slabs. If it is out of tolerance, or
    larger than its precision allows, nothing is written and the exit status is 1. Modules that lose
    most by float16 or int8 are found by measurement and stay in floating point.
    """
    if old_inspect:
        return print_description(checkpoint, as_json)
    if as_json:
        raise click.UsageError("--json needs the command inspect: lits-export inspect MODEL --json")
    if old_triton is not None and checkpoint.suffix == ".onnx":
        return add_to_repository(checkpoint, old_triton, force=force)
    if checkpoint.suffix == ".onnx":
        raise click.UsageError(
            f"{checkpoint}: a model, expected a checkpoint; models are for lits-export inspect "
            "and lits-export triton"
        )
    model = output or checkpoint.with_suffix(".onnx")
    inputs = Inputs("the checkpoint", [checkpoint]).add("a scan to check on", asked["check_on"])
    check_targets([model, *([worst_slice] if worst_slice else [])], inputs, force=force)
    if old_triton is not None:
        check_folder(old_triton / model.stem, inputs, force=force)
    _export(checkpoint, model, worst_slice=worst_slice, **asked)
    if old_triton is not None:
        add_to_repository(model, old_triton, force=True)


main.add_command(inspect)
main.add_command(triton)


def _export(
    checkpoint: Path,
    model: Path,
    max_difference: float | None,
    min_dice: float | None,
    max_volume_difference: float | None,
    recipe: str | None,
    config: Path | None,
    settings: tuple[str, ...],
    key: str,
    transposed: bool,
    module: str,
    **asked: Any,
) -> None:
    from lits_export.export import ExportSettings, export_model

    limits = {
        "probability": max_difference,
        "dice": min_dice,
        "volume_percent": max_volume_difference,
    }
    stated = {name: limit for name, limit in limits.items() if limit is not None}
    precision = asked["precision"]
    tolerance = replace(TOLERANCES[precision], **stated)
    given = _given(recipe, config, settings, key=key, transposed=transposed, module=module)
    result = export_model(
        checkpoint, model, ExportSettings(tolerance=tolerance, given=given, **asked)
    )
    logger.info("%s: %s, %.1f MB, parity holds", model, precision, result.bytes / 1e6)


def _given(
    name: str | None, config: Path | None, settings: tuple[str, ...], **parts: Any
) -> "Given":
    """What the options say of weights alone."""
    from lits_train.network.foreign_weights import Given
    from lits_train.settings.recipe import BASELINE, RECIPES

    recipe, stated = overridden(RECIPES[name] if name else BASELINE, config, [*settings])
    return Given(recipe, frozenset(stated | ({"recipe"} if name else set())), **parts)
