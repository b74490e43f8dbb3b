"""lits-infer: segment CT scans with an exported model."""

import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lits_runtime.cli.command import Command, shared_options
from lits_runtime.system.process import keep_freed_memory

if TYPE_CHECKING:
    from lits_runtime.batch import Outcome, Settings
    from lits_runtime.batch.jobs import Job

logger = logging.getLogger(__name__)


def _thresholds(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, float]:
    thresholds = {}
    for value in values:
        name, _, number = value.partition("=")
        try:
            thresholds[name] = float(number)
        except ValueError:
            raise click.BadParameter(f"{value!r}: expected CLASS=PROBABILITY") from None
    return thresholds


@click.command(cls=Command)
@click.argument("scan", nargs=-1, type=click.Path())  # a wrong name is one scan's failure
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Mask to write (.nii, .nii.gz), or a folder.  [default: SCAN_mask.nii.gz beside SCAN]",
)
@click.option(
    "-m",
    "--model",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Model written by lits-export.  [default: the bundled one]",
)
@click.option("--model-sha256", metavar="HEX", help="Refuse a model with another SHA-256.")
@click.option(
    "--provider",
    type=click.Choice(["auto", "cpu", "cuda", "tensorrt"]),
    default="auto",
    show_default=True,
    help="What to run on; what is asked for, or an error.",
)
@click.option("--device-id", type=click.IntRange(0), default=0, help="Which GPU.  [default: 0]")
@click.option("--threads", type=click.IntRange(1), help="For the CPU.  [default: all usable]")
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    help="Axial slices that go through the network at once.  [default: by model and provider]",
)
@click.option(
    "--list",
    "listed",
    type=click.File(encoding="utf-8-sig", errors="surrogateescape"),
    help="File of scans, one a line; - is stdin.",
)
@click.option(
    "--pattern", help="Names of scans in folders.  [default: *.nii, *.nii.gz, *.hdr with *.img]"
)
@click.option("--shard", help="Do the I-th of N parts: I/N, for array jobs.")
@click.option(
    "--mask",
    "mask_kind",
    type=click.Choice(["labels", "liver", "lesion"]),
    default="labels",
    show_default=True,
    help="What the mask holds: 0/1/2, or 0/1 of one class (a liver includes its lesions).",
)
@click.option(
    "--probability",
    type=click.Path(path_type=Path),
    help="Also write probabilities, uint8 with slope 1/255: a file, its name completed by the "
    "class, or a folder.",
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Volumes and lesions of all scans, .json or .csv; a hidden .NAME.record tells it is ours.",
)
@click.option(
    "--threshold",
    "thresholds",
    multiple=True,
    callback=_thresholds,
    metavar="CLASS=P",
    help="In place of the model's; may be repeated.",
)
@click.option("--tta", is_flag=True, help="Average over the transforms the model trained with.")
@click.option("--keep-largest-liver", is_flag=True, help="Drop other components of the liver.")
@click.option("--drop-lesions-outside-liver", is_flag=True, help="Drop lesions not at a liver.")
@click.option(
    "--min-lesion-ml", type=click.FloatRange(0), default=0.0, help="Smaller lesions become liver."
)
@click.option("--strict", is_flag=True, help="Warnings about a scan are errors.")
@click.option("--max-voxels", type=click.IntRange(1), help="Refuse larger scans.  [default: 2**31]")
@click.option("--json", "as_json", is_flag=True, help="One JSON line per scan on stdout.")
@click.option(
    "-f", "--force", is_flag=True, help="Overwrite files of others, and redo what is done."
)
@shared_options
def main(
    scan: tuple[str, ...],
    output: Path | None,
    listed: Any,
    pattern: str | None,
    shard: str | None,
    probability: Path | None,
    report: Path | None,
    as_json: bool,
    **wishes: Any,
) -> None:
    """Segment CT scans (NIfTI, any orientation) and write masks on the scans' own grids.

    SCAN is a file or a folder, which is searched; masks, outputs of earlier runs, hidden files and
    other formats are left out and named. Labels are those of LiTS: 0 background, 1 liver,
    2 lesion. Beside each mask a record (.json) is written last; a rerun skips what a record commits
    with the same scan, model and settings. A file that exists is replaced only if a record explains
    its very bytes, or with --force; a scan or the model never is. Exit status 0 only if all scans
    succeeded.
    """
    keep_freed_memory()
    from lits_runtime.batch.jobs import plan, read_list
    from lits_runtime.batch.jobs import shard as shard_of

    if report is not None and report.suffix not in (".json", ".csv"):
        raise click.UsageError(f"{report}: expected a name ending in .json or .csv")
    try:
        scans = (*scan, *(read_list(listed) if listed is not None else ()))
        if not scans:
            raise ValueError("no scan: name files or folders, or give --list")
        planned = plan(scans, output, pattern=pattern, probability=probability)
        jobs = shard_of(planned, shard) if shard else planned
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    outcomes, signal_number = _run(jobs, _settings(wishes), as_json, report, _list_file(listed))
    _end(jobs, outcomes, signal_number)


def _list_file(listed: Any) -> list[Path]:
    """The file that --list reads; nothing for stdin."""
    name = getattr(listed, "name", None)
    return [Path(name)] if isinstance(name, str) and os.path.exists(name) else []


def _settings(wishes: dict[str, Any]) -> "Settings":
    from lits_runtime.batch import Settings
    from lits_runtime.segment.options import Options

    names = (
        "thresholds",
        "tta",
        "keep_largest_liver",
        "drop_lesions_outside_liver",
        "min_lesion_ml",
        "strict",
    )
    options = Options(**{name: wishes.pop(name) for name in names})
    return Settings(options=options, **wishes)


def _run(
    jobs: "list[Job]",
    settings: "Settings",
    as_json: bool,
    report: Path | None,
    also_read: list[Path],
) -> "tuple[list[Outcome], int | None]":
    from lits_runtime.batch import run_batch
    from lits_runtime.cli.progress import ProgressBar, stopping_on_signals

    file = None
    if report is not None:
        from lits_runtime.batch.results_file import ReportFile

        file = ReportFile(report, force=settings.force)
    outcomes: list[Outcome] = []
    with stopping_on_signals() as stop, ProgressBar(len(jobs)) as bar:
        batch = run_batch(
            *(jobs, settings),
            progress=bar.show,
            cancel=stop.requested,
            report=file,
            also_read=also_read,
        )
        try:
            for outcome in batch:
                outcomes.append(outcome)
                bar.scan_done()
                _tell(outcome, len(jobs))
                if as_json:
                    click.echo(json.dumps(outcome.to_json()))
                    sys.stdout.flush()
        except ValueError as error:
            _raise_as_usage_error(error)
    if file is not None:
        file.write([outcome.to_json() for outcome in outcomes])
    return outcomes, stop.signal_number


def _raise_as_usage_error(error: ValueError) -> None:
    from lits_runtime.errors import LitsError, OptionsError

    if isinstance(error, LitsError) and not isinstance(error, OptionsError):
        raise error
    raise click.UsageError(str(error)) from None


def _tell(outcome: "Outcome", of: int) -> None:
    from lits_runtime.messages import printable

    scan, mask = printable(str(outcome.job.scan)), printable(str(outcome.job.mask))
    if outcome.record is None:
        if outcome.status == "failed" and of > 1:
            message = " ".join(str(outcome.error).split())
            logger.error("error: %s", message if scan in message else f"{scan}: {message}")
        return
    for warning in outcome.record["warnings"]:
        logger.warning("warning: %s: %s", scan, printable(warning))
    figures = [
        f"{printable(name)} {ml:.1f} ml" for name, ml in outcome.record["volumes_ml"].items()
    ]
    if (burden := outcome.record["tumour_burden_percent"]) is not None:
        figures.append(f"burden {burden:.1f} %")
    figures.append(f"{outcome.record['lesion_count']} lesions")
    if sides := outcome.record["liver_cut"]:
        figures.append(f"the liver is cut by the field of view: {printable(', '.join(sides))}")
    if outcome.status == "skipped":
        logger.info("%s: done before; %s", mask, ", ".join(figures))
        return
    logger.info("%s: %s (%s)", mask, ", ".join(figures), printable(outcome.record["provider"]))
    if reason := outcome.record["whole_because"]:
        logger.debug("%s: not streamed: %s", scan, printable(reason))


def _end(jobs: "list[Job]", outcomes: "list[Outcome]", signal_number: int | None) -> None:
    count: Callable[[str], int] = [outcome.status for outcome in outcomes].count
    if len(jobs) > 1 or signal_number is not None:
        left = len(jobs) - count("done") - count("skipped") - count("failed")
        summary = f"{count('done')} done, {count('skipped')} done before, {count('failed')} failed"
        logger.log(
            logging.ERROR if signal_number is not None else logging.INFO,
            "%s%s",
            summary,
            f", {left} left" if left else "",
        )
    context = click.get_current_context()
    if signal_number is not None:
        context.exit(128 + signal_number)
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    if failed and len(jobs) == 1:
        raise failed[0]
    context.exit(1 if failed else 0)
