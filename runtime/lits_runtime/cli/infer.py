"""lits-infer: segment CT scans with an exported model."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from lits_runtime.cli.command import Command, section, shared_options
from lits_runtime.cli.engines import engine_options, opened
from lits_runtime.cli.options.arguments import EXISTING_FILE, NEW, NEW_FILE, PLACE, PROVIDERS
from lits_runtime.cli.options.dicom_options import dicom_options
from lits_runtime.volumes.nifti.load_nibabel import load_nibabel

if TYPE_CHECKING:
    from lits_runtime.batch import Settings
    from lits_runtime.batch.engine import BatchEngine
    from lits_runtime.batch.job import Job
    from lits_runtime.cli.outcome_log import Tally


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


_OF_THE_PLAN = ("output", "pattern", "probability", "formats", "series", "fill_missing")
"""Options that `batch.jobs.plan` takes."""
_scans, _outputs, _model, _postprocessing, _hardware = map(
    section, ("Scans", "Outputs", "Model", "Post-processing", "Hardware")
)


@click.command(cls=Command)
@click.argument("scan", nargs=-1, type=click.Path())  # a wrong name is one scan's failure
@_scans(
    "--list",
    "listed",
    metavar="FILE",
    help="List of scans: one per line, or a .csv or .parquet with a column uri, and perhaps id and "
    "options; a path, a URI, or - for stdin.",
)
@_scans(
    "--pattern", help="Names of scans in folders.  [default: *.nii, *.nii.gz, *.hdr with *.img]"
)
@_scans("--shard", metavar="I/N", help="Do part I of N only, for array jobs.")
@_scans("--max-voxels", type=click.IntRange(1), help="Refuse larger scans.  [default: 2**31]")
@_scans("--strict", is_flag=True, help="Treat warnings about a scan as errors.")
@dicom_options
@_outputs(
    "-o",
    "--output",
    type=PLACE,
    help="Mask to write (.nii, .nii.gz), SEG of a series (.dcm), or a folder, with a folder for "
    "each series; s3:// and gs:// too.  [default: SCAN_mask.nii.gz beside SCAN; series need one]",
)
@_outputs(
    "--mask",
    "mask_kind",
    type=click.Choice(["labels", "liver", "lesion"]),
    default="labels",
    show_default=True,
    help="What a NIfTI mask holds: 0/1/2, or 0/1 for one class (the liver includes its lesions).",
)
@_outputs(
    "--probability",
    type=NEW,
    help="Also write probabilities, uint8 with slope 1/255: a file, whose name is completed by "
    "the class, or a folder.",
)
@_outputs(
    "--report",
    type=NEW_FILE,
    help="Also write volumes and lesions of all scans to one .json or .csv file; a hidden "
    ".NAME.record beside it identifies it as ours.",
)
@_outputs("--json", "as_json", is_flag=True, help="Print one JSON line per scan on stdout.")
@_outputs(
    "-f", "--force", is_flag=True, help="Overwrite files of others, and redo scans that are done."
)
@_model(
    "-m",
    "--model",
    type=EXISTING_FILE,
    help="Model written by lits-export.  [default: the bundled one]",
)
@_model("--model-sha256", metavar="HEX", help="Refuse a model with another SHA-256.")
@_model(
    "--threshold",
    "thresholds",
    multiple=True,
    callback=_thresholds,
    metavar="CLASS=P",
    help="Replace the model's threshold for a class; may be repeated.",
)
@_model("--tta", is_flag=True, help="Average over the transforms used in training.")
@_model(
    "--no-search",
    is_flag=True,
    help="Segment slices between two without liver too, where the model allows to skip them.",
)
@_model(
    "--no-interpolation",
    is_flag=True,
    help="Segment every slice, where the model allows to interpolate those between two.",
)
@_postprocessing(
    "--no-postprocessing",
    is_flag=True,
    help="Leave out the steps that the model asks for; those given below count in any case.",
)
@_postprocessing(
    "--keep-largest-liver/--no-keep-largest-liver",
    default=None,
    help="Keep the largest component of the liver only.  [default: by model]",
)
@_postprocessing(
    "--drop-lesions-outside-liver/--no-drop-lesions-outside-liver",
    default=None,
    help="Drop lesions that touch no liver.  [default: by model]",
)
@_postprocessing(
    "--min-lesion-ml",
    type=click.FloatRange(0),
    help="Turn lesions below this volume into liver; 0: none.  [default: by model]",
)
@_postprocessing(
    "--min-liver-contact",
    type=click.FloatRange(0, 1),
    help="Drop lesions of whose surface less than this fraction borders liver; 0: none.  "
    "[default: by model]",
)
@_hardware(
    "--provider",
    type=click.Choice(["auto", *PROVIDERS]),
    default="auto",
    show_default=True,
    help="What to run on; if it cannot, that is an error.",
)
@_hardware("--device-id", type=click.IntRange(0), default=0, help="Which GPU.  [default: 0]")
@_hardware("--threads", type=click.IntRange(1), help="Threads on the CPU.  [default: all usable]")
@_hardware(
    "--batch-size",
    type=click.IntRange(1),
    help="Axial slices to segment at once.  [default: by model and provider]",
)
@engine_options
@shared_options
def main(
    scan: tuple[str, ...],
    listed: str | None,
    shard: str | None,
    list_series: bool,
    report: Path | None,
    as_json: bool,
    engine: str,
    ray_address: str | None,
    workers: int | None,
    **settings: Any,
) -> None:
    """Segment CT scans and write masks on their own grids, or DICOM objects.

    SCAN is a NIfTI file, a DICOM series (a file, ZIP archive or DICOMDIR), a folder to search, or
    the s3://, gs:// or https:// URI of one; masks, outputs of earlier runs, hidden files and other
    formats in folders are skipped and named. Labels are those of LiTS: 0 background, 1 liver, 2
    lesion. A record (.json) is written beside the results, last of all; a rerun skips a scan whose
    record shows the same scan, model and settings. An existing file is replaced only if a record
    identifies its content as ours, or with --force; a scan or the model never is. The exit status
    is 0 only if all scans succeeded.
    """
    load_nibabel()
    from lits_runtime.batch.jobs import plan
    from lits_runtime.batch.jobs import shard as shard_of
    from lits_runtime.batch.lists.row import Row
    from lits_runtime.cli.options.dicom_options import print_series
    from lits_runtime.cli.scan_lists import scans_of

    if report is not None and report.suffix not in (".json", ".csv"):
        raise click.UsageError(f"{report}: expected a name ending in .json or .csv")
    try:
        scans = (*scan, *(scans_of(listed) if listed is not None else ()))
        if not scans:
            raise ValueError("no scan: name files or folders, or give --list")
        if list_series:
            print_series(
                [name for name in scans if not isinstance(name, Row)],
                fill_missing=settings["fill_missing"],
                as_json=as_json,
            )
            return
        planned = plan(scans, **{name: settings.pop(name) for name in _OF_THE_PLAN})
        jobs = shard_of(planned, shard) if shard else planned
    except ValueError as error:
        _raise_as_usage_error(error)
    chosen = _settings(settings)
    with opened(engine, chosen, ray_address, workers) as running:
        tally, signal_number = _run(jobs, chosen, running, as_json, report, _list_file(listed))
    _end(jobs, tally, signal_number)


def _list_file(listed: str | None) -> list[Path]:
    """The file that --list reads; nothing for stdin."""
    return [Path(listed)] if listed is not None and os.path.exists(listed) else []


def _settings(settings: dict[str, Any]) -> "Settings":
    from dataclasses import fields

    from lits_runtime.batch import Settings
    from lits_runtime.segment.options import Options
    from lits_runtime.volumes.dicom_objects.facts import ObjectOptions

    for name in ("search", "interpolation", "postprocessing"):
        settings[name] = not settings.pop(f"no_{name}")
    gigabytes = settings.pop("scratch_gb")
    settings["scratch_bytes"] = None if gigabytes is None else int(gigabytes * 1e9)
    options = {field.name: settings.pop(field.name) for field in fields(Options)}
    objects = {field.name: settings.pop(field.name) for field in fields(ObjectOptions)}
    return Settings(options=Options(**options), objects=ObjectOptions(**objects), **settings)


def _run(
    jobs: "list[Job]",
    settings: "Settings",
    engine: "str | BatchEngine",
    as_json: bool,
    report: Path | None,
    also_read: list[Path],
) -> "tuple[Tally, int | None]":
    from lits_runtime.batch import run_batch
    from lits_runtime.cli.outcome_log import Tally, log_outcome
    from lits_runtime.cli.progress import ProgressBar, stopping_on_signals

    file = None
    if report is not None:
        from lits_runtime.batch.results_file import ReportFile

        file = ReportFile(report, force=settings.force)
    tally, reported = Tally(), list[dict[str, Any]]()
    with stopping_on_signals() as stop, ProgressBar(len(jobs)) as bar:
        batch = run_batch(
            *(jobs, settings),
            engine=engine,
            progress=bar.show,
            cancel=stop.requested,
            report=file,
            also_read=also_read,
        )
        try:
            for outcome in batch:
                tally.add(outcome)
                if file is not None:
                    reported.append(outcome.to_json())
                bar.scan_done()
                log_outcome(outcome, len(jobs))
                if as_json:
                    click.echo(json.dumps(outcome.to_json()))
                    sys.stdout.flush()
        except ValueError as error:
            _raise_as_usage_error(error)
    if file is not None:
        places = {(job.shown, job.target): place for place, job in enumerate(jobs)}
        file.write(sorted(reported, key=lambda one: places[one["scan"], one["mask"]]))
    return tally, stop.signal_number


def _raise_as_usage_error(error: ValueError) -> NoReturn:
    from lits_runtime.errors import LitsError, OptionsError

    if isinstance(error, LitsError) and not isinstance(error, OptionsError):
        raise error
    raise click.UsageError(str(error)) from None


def _end(jobs: "list[Job]", tally: "Tally", signal_number: int | None) -> None:
    from lits_runtime.cli.outcome_log import log_summary

    interrupted = signal_number is not None
    if len(jobs) > 1 or interrupted:
        log_summary(tally, len(jobs), interrupted=interrupted)
    context = click.get_current_context()
    if signal_number is not None:
        context.exit(128 + signal_number)
    if tally.first_error is not None and len(jobs) == 1:
        raise tally.first_error
    context.exit(0 if tally.first_error is None else 1)
