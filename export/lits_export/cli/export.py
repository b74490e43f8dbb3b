"""lits-export: turn a checkpoint into one verified ONNX file."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lits_runtime.cli.command import Command, shared_options
from lits_runtime.files.output_rule import Inputs, check_folder, check_targets
from lits_runtime.model.metadata import DISCLAIMER

if TYPE_CHECKING:
    from lits_export.parity.compare import Tolerance

logger = logging.getLogger(__name__)


@click.command(cls=Command)
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Model to write.  [default: CHECKPOINT with the ending .onnx]",
)
@click.option(
    "--precision",
    type=click.Choice(["fp16", "fp32", "int8"]),
    default="fp16",
    show_default=True,
    help="Of the network; scaling, pooling and thresholds stay fp32.",
)
@click.option(
    "--check-on",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="Scan or folder of scans to compare and calibrate on.  [default: the phantom]",
)
@click.option(
    "--providers",
    metavar="NAME,NAME...|all",
    help="Compare the written file on cpu, cuda, tensorrt.  [default: cpu, and cuda if it loads]",
)
@click.option("--max-difference", type=click.FloatRange(0), help="Tolerance of each probability.")
@click.option("--min-dice", type=click.FloatRange(0, 1), help="Tolerance of each class's labels.")
@click.option(
    "--max-volume-difference",
    type=click.FloatRange(0),
    metavar="PERCENT",
    help="Tolerance of each class's volume.  [default: 2 for int8]",
)
@click.option(
    "--worst-slice",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the slice that differs most, as .png or .pdf.",
)
@click.option("--licence", default="Apache-2.0", show_default=True, help="Of the weights.")
@click.option("--intended-use", default=DISCLAIMER, help="Text to embed.")
@click.option(
    "--triton",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write the model into this Triton model repository.",
)
@click.option("--inspect", is_flag=True, help="Print what the model CHECKPOINT says of itself.")
@click.option("--json", "as_json", is_flag=True, help="With --inspect: print JSON.")
@click.option("-f", "--force", is_flag=True, help="Overwrite existing files.")
@shared_options
def main(
    checkpoint: Path,
    output: Path | None,
    precision: str,
    check_on: tuple[Path, ...],
    providers: str | None,
    max_difference: float | None,
    min_dice: float | None,
    max_volume_difference: float | None,
    worst_slice: Path | None,
    licence: str,
    intended_use: str,
    triton: Path | None,
    inspect: bool,
    as_json: bool,
    force: bool,
) -> None:
    """Export the CHECKPOINT of lits-train, and prove that the file says what the network says.

    CHECKPOINT is the .pth of a run, or a .pth or .safetensors of weights alone if they are of the
    baseline recipe's network. Out of tolerance, or larger than the precision promises,
    nothing is written and the exit status is 1. What float16 or int8 harms most is found by
    measuring, and stays in floating point. With --inspect, or with --triton and a model (.onnx), a
    model is taken in place of a checkpoint, and neither torch nor onnx is needed.
    """
    if inspect:
        return _inspect(checkpoint, as_json)
    if as_json:
        raise click.UsageError("--json belongs to --inspect")
    exported = triton is not None and checkpoint.suffix == ".onnx"
    model = checkpoint if exported else output or checkpoint.with_suffix(".onnx")
    inputs = Inputs("the file to export", [checkpoint]).add("a scan to check on", check_on)
    files = [] if exported else [model]
    check_targets([*files, *([worst_slice] if worst_slice else [])], inputs, force=force)
    if triton is not None:
        check_folder(triton / model.stem, inputs, force=force)
    if exported:
        return _write_repository(model, triton)

    from lits_export.export import ExportSettings, export_model

    tolerance = _tolerance(precision, max_difference, min_dice, max_volume_difference)
    places = _providers(providers)
    settings = ExportSettings(
        precision, check_on, tolerance, places, worst_slice, licence, intended_use
    )
    result = export_model(checkpoint, model, settings)
    logger.info("%s: %s, %.1f MB, parity holds", model, precision, result.bytes / 1e6)
    _write_repository(model, triton)


def _tolerance(
    precision: str, probability: float | None, dice: float | None, volume_percent: float | None
) -> "Tolerance":
    """That of the precision, but for what is asked for."""
    from lits_export.parity.compare import TOLERANCES

    asked = {"probability": probability, "dice": dice, "volume_percent": volume_percent}
    return replace(
        TOLERANCES[precision], **{name: most for name, most in asked.items() if most is not None}
    )


def _inspect(model: Path, as_json: bool) -> None:
    from lits_runtime.model.description import describe

    description = describe(model)
    click.echo(json.dumps(description.to_json(), indent=1) if as_json else description.text())


def _write_repository(model: Path, folder: Path | None) -> None:
    if folder is None:
        return
    from lits_export.triton import write_repository

    logger.info("%s: version 1 for Triton", write_repository(model, folder))


def _providers(names: str | None) -> tuple[str, ...]:
    from lits_runtime.session.providers import PROVIDERS

    if names is None:
        return ()
    chosen = tuple(PROVIDERS) if names == "all" else tuple(names.split(","))
    if unknown := [name for name in chosen if name not in PROVIDERS]:
        raise click.UsageError(f"providers {unknown}: known are {', '.join(PROVIDERS)} and all")
    return chosen
