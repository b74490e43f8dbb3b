"""lits-eval: score masks against references, and compare predictions."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lits_runtime.cli.command import Command, shared_options
from lits_runtime.cli.options.arguments import (
    EXISTING,
    EXISTING_FILE,
    NEW_FILE,
    PROVIDERS,
    force_option,
)
from lits_runtime.files.output_rule import Inputs, check_targets
from lits_runtime.labels import MASKS
from lits_runtime.volumes.nifti.load_nibabel import load_nibabel
from lits_tools.cli.arguments import check_ending
from lits_tools.cli.names import prediction_names

if TYPE_CHECKING:
    from lits_tools.cli.eval_output import Gallery
    from lits_tools.scores.evaluate import Evaluation
    from lits_tools.scores.gates import Gate

logger = logging.getLogger(__name__)

_ENDINGS = (".csv", ".json", ".html", ".md", ".tex", ".svg", ".pdf", ".png")


@click.command(cls=Command)
@click.argument("predicted", type=EXISTING, nargs=-1, required=True)
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
    "--name",
    "names",
    multiple=True,
    help="Name of a PREDICTED in tables and figures, in the same order; repeatable.  [default: its "
    "file or folder name]",
)
@click.option(
    "--class",
    "classes",
    type=click.Choice(list(MASKS)),
    multiple=True,
    help="Score this class only.  [default: both, but no liver where masks show lesions alone]",
)
@click.option(
    "-o",
    "--output",
    "outputs",
    type=NEW_FILE,
    multiple=True,
    help="File to write: .csv, .json or .html; tables as .md or .tex; figures as .svg, .pdf or "
    ".png; repeatable.",
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
    "--resamples",
    type=click.IntRange(100, 1_000_000),
    default=10_000,
    show_default=True,
    help="Bootstrap resamples of the cases, for the intervals.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the resamples."
)
@click.option(
    "--ignore-affine",
    is_flag=True,
    help="Compare voxels by index, in the reference's spacing, even if the affines differ; not for "
    "DICOM SEG.",
)
@force_option
@shared_options
def main(
    predicted: tuple[Path, ...],
    reference: Path,
    model: Path | None,
    provider: str,
    names: tuple[str, ...],
    as_json_text: bool,
    outputs: tuple[Path, ...],
    fail_below: tuple[str, ...],
    fail_above: tuple[str, ...],
    force: bool,
    **scoring: Any,
) -> None:
    """Score the masks PREDICTED against REFERENCE: two files, or two folders matched by case.

    Masks are NIfTI files or DICOM SEG, also one of each. With --model, PREDICTED may be the folder
    of a DICOM series for one REFERENCE.

    Several PREDICTED are compared: scores over the cases that they share, and the differences of
    each from the first, with intervals and p values.

    Labels are those of LiTS: 0 background, 1 liver, 2 lesion. The exit status is 1 if a case could
    not be scored or a limit of --fail-below or --fail-above is not met.
    """
    _check_files(outputs, predicted, reference, model, force)
    named = prediction_names(predicted, names)
    gates = _gates(fail_below, fail_above)

    load_nibabel()
    from lits_tools.cli.eval_output import Gallery, show, write

    pictures = len(predicted) == 1 and any(o.suffix == ".html" for o in outputs)
    gallery = Gallery(model is not None) if pictures else None
    scoring["classes"] = scoring["classes"] or tuple(MASKS)
    evaluations = _evaluated(predicted, reference, model, provider, gallery, scoring)
    result = _result(named, evaluations, scoring)
    show(result, as_json_text)
    for output in outputs:
        write(result, output, gallery)
    _end(gates, named, evaluations)


def _check_files(
    outputs: Sequence[Path],
    predicted: Sequence[Path],
    reference: Path,
    model: Path | None,
    force: bool,
) -> None:
    if model and len(predicted) > 1:
        raise click.UsageError(
            "--model takes one PREDICTED: to compare models, segment with lits-infer first"
        )
    for output in outputs:
        check_ending(output, _ENDINGS)
    inputs = Inputs("a file to score", [*predicted, reference])
    check_targets(outputs, inputs.add("the model", [model] if model else []), force=force)


def _evaluated(
    predicted: Sequence[Path],
    reference: Path,
    model: Path | None,
    provider: str,
    gallery: "Gallery | None",
    scoring: dict[str, Any],
) -> "list[Evaluation]":
    """The scores of each prediction."""
    from lits_runtime.segment.segmenter import Segmenter
    from lits_tools.scores.evaluate import evaluate
    from lits_tools.scores.pairs import find_pairs

    segmenter = Segmenter.open(model, provider=provider) if model else None
    pairs = [find_pairs(path, reference, scans=model is not None) for path in predicted]
    return [evaluate(of_one, segmenter=segmenter, on_scored=gallery, **scoring) for of_one in pairs]


def _result(names: Sequence[str], evaluations: "list[Evaluation]", scoring: dict[str, Any]) -> Any:
    """The evaluation, or the comparison of several."""
    if len(evaluations) == 1:
        return evaluations[0]
    from lits_tools.scores.comparison import compare

    return compare(names, evaluations, resamples=scoring["resamples"], seed=scoring["seed"])


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


def _end(
    gates: "Sequence[Gate]", names: Sequence[str], evaluations: "Sequence[Evaluation]"
) -> None:
    """Exit with status 1 if a limit is not met, or a case could not be scored."""
    broken = [
        f"{name}: {reason}" if len(names) > 1 else reason
        for name, evaluation in zip(names, evaluations, strict=True)
        for gate in gates
        if (reason := gate.broken(evaluation))
    ]
    for reason in broken:
        click.echo(f"failed: {reason}", err=True)
    if broken or any(one.failed for one in evaluations):
        raise click.exceptions.Exit(1)
