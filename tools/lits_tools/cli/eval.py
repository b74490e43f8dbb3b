"""lits-eval: score masks against references."""

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lits_runtime.cli.arguments import EXISTING, EXISTING_FILE, NEW_FILE, PROVIDERS, force_option
from lits_runtime.cli.command import Command, shared_options
from lits_runtime.files.output_rule import Inputs, check_targets
from lits_tools.cli.arguments import check_ending

if TYPE_CHECKING:
    from lits_runtime.segment.segmenter import Segmenter
    from lits_runtime.volumes.label_volume import LabelVolume
    from lits_tools.scores.evaluate import Evaluation
    from lits_tools.scores.gates import Gate
    from lits_tools.scores.pairs import Pair

logger = logging.getLogger(__name__)

_ENDINGS = (".csv", ".json", ".html")


@click.command(cls=Command)
@click.argument("predicted", type=EXISTING)
@click.argument("reference", type=EXISTING)
@click.option(
    "-m",
    "--model",
    type=EXISTING_FILE,
    help="Take PREDICTED as scans and segment them first with this model of lits-export.",
)
@click.option(
    "--provider",
    type=click.Choice(["auto", *PROVIDERS]),
    default="auto",
    show_default=True,
    help="What the model runs on; if it is not available, the command fails.",
)
@click.option(
    "-o",
    "--output",
    "outputs",
    type=NEW_FILE,
    multiple=True,
    help="File to write: .csv, .json or .html; repeatable.",
)
@click.option("--json", "as_json_text", is_flag=True, help="Print JSON instead of tables.")
@click.option(
    "--fail-below",
    multiple=True,
    metavar="SCORE=VALUE",
    help="Fail if a pooled score is below VALUE, for example lesion_dice=0.6; repeatable.",
)
@click.option(
    "--fail-above",
    multiple=True,
    metavar="SCORE=VALUE",
    help="Fail if a pooled error or distance is above VALUE, for example liver_assd_mm=2; "
    "repeatable.",
)
@click.option(
    "--ignore-affine",
    is_flag=True,
    help="Compare voxels by index, in the reference's spacing, even if the affines differ.",
)
@force_option
@shared_options
def main(
    predicted: Path,
    reference: Path,
    model: Path | None,
    provider: str,
    outputs: tuple[Path, ...],
    as_json_text: bool,
    fail_below: tuple[str, ...],
    fail_above: tuple[str, ...],
    ignore_affine: bool,
    force: bool,
) -> None:
    """Score the masks PREDICTED against REFERENCE: two files, or two folders matched by case.

    Labels are those of LiTS: 0 background, 1 liver, 2 lesion. The exit status is 1 if a case could
    not be scored or a limit of --fail-below or --fail-above is not met.
    """
    from lits_tools.scores.evaluate import evaluate
    from lits_tools.scores.pairs import find_pairs

    inputs = Inputs("a file to score", [predicted, reference])
    _check_outputs(outputs, inputs.add("the model", [model] if model else []), force)
    gates = _gates(fail_below, fail_above)
    segmenter = _opened(model, provider) if model else None
    pairs = find_pairs(predicted, reference, scans=model is not None)
    gallery = Gallery(model is not None) if any(o.suffix == ".html" for o in outputs) else None
    evaluation = evaluate(
        pairs, segmenter=segmenter, ignore_affine=ignore_affine, on_scored=gallery
    )
    _show(evaluation, as_json_text)
    for output in outputs:
        _write(evaluation, output, gallery)
    broken = [reason for gate in gates if (reason := gate.broken(evaluation))]
    for reason in broken:
        click.echo(f"failed: {reason}", err=True)
    if broken or evaluation.failed:
        raise click.exceptions.Exit(1)


def _opened(model: Path, provider: str) -> "Segmenter":
    from lits_runtime.segment.segmenter import Segmenter

    return Segmenter.open(model, provider=provider)


class Gallery:
    """Pictures of the worst slice of each case, drawn while its labels are in memory."""

    def __init__(self, scans: bool) -> None:
        self.scans = scans
        self.pictures: dict[str, bytes] = {}

    def __call__(self, pair: "Pair", pred: "LabelVolume", gt: "LabelVolume") -> None:
        """Draw one case, over its scan if a model segmented it."""
        from lits_tools.report.figures import worst_slice

        scan = pair.predicted if self.scans else None
        self.pictures[pair.case_id] = worst_slice(pred, gt, pair.case_id, scan)


def _check_outputs(outputs: tuple[Path, ...], inputs: Inputs, force: bool) -> None:
    for output in outputs:
        check_ending(output, _ENDINGS)
    check_targets(outputs, inputs, force=force)


def _gates(fail_below: tuple[str, ...], fail_above: tuple[str, ...]) -> list["Gate"]:
    if not fail_below and not fail_above:
        return []
    from lits_tools.scores.gates import Gate

    try:
        return [Gate.parse(text, below=True) for text in fail_below] + [
            Gate.parse(text, below=False) for text in fail_above
        ]
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _show(evaluation: "Evaluation", as_json_text: bool) -> None:
    from lits_tools.report.tables import as_json, tables

    if as_json_text:
        click.echo(json.dumps(as_json(evaluation), indent=1, allow_nan=False))
    elif logger.isEnabledFor(logging.INFO):
        from rich.console import Console

        # A pipe has no width of its own, and the usual 80 columns would wrap the tables.
        console = Console(width=None if sys.stdout.isatty() else 160)
        console.print(*tables(evaluation), sep="\n")


def _write(evaluation: "Evaluation", output: Path, gallery: Gallery | None) -> None:
    from lits_tools.report.page import write_html
    from lits_tools.report.tables import write_csv, write_json

    if output.suffix == ".csv":
        write_csv(evaluation, output)
    elif output.suffix == ".json":
        write_json(evaluation, output)
    else:
        write_html(evaluation, output, gallery.pictures if gallery else None)
    logger.info("%s", output)
