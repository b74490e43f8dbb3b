"""lits-archive: plan a large batch, see how far it is, and report on it."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lits_runtime.cli.command import Command, shared_options
from lits_runtime.cli.options.arguments import (
    EXISTING_FILE,
    NEW_FILE,
    NEW_FOLDER,
    PROVIDERS,
    force_option,
)
from lits_runtime.volumes.nifti.load_nibabel import load_nibabel
from lits_tools.cli.arguments import check_ending

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lits_runtime.batch.job import Job
    from lits_runtime.batch.lists.row import Row
    from lits_tools.archive.estimate import Estimate
    from lits_tools.archive.status import Status

logger = logging.getLogger(__name__)

_MANIFESTS = (".csv", ".parquet")
_list_option = click.option(
    "--list", "listed", metavar="FILE", help="Manifest: a path or URI of a .csv or .parquet."
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@click.group()
@click.version_option(package_name="lits-toolkit")
def main() -> None:
    """Plan the segmentation of a large archive, see how far it is, and report on it."""


@main.command(cls=Command)
@click.argument("scan", nargs=-1, type=click.Path())
@click.option("--list", "listed", metavar="FILE", help="List of scans, as lits-infer takes it.")
@click.option(
    "-o", "--output", type=NEW_FILE, required=True, help="Manifest to write, .csv or .parquet."
)
@click.option(
    "--sample",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    help="Scans to segment here for the estimate; 0: none.",
)
@click.option(
    "--for-workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Workers like this machine that the run will have.",
)
@click.option("--price-per-hour", type=click.FloatRange(0), help="Of one worker, in any currency.")
@click.option("-m", "--model", type=EXISTING_FILE, help="Model.  [default: the bundled one]")
@click.option(
    "--provider",
    type=click.Choice(["auto", *PROVIDERS]),
    default="auto",
    show_default=True,
    help="What to run the sample on.",
)
@click.option("--threads", type=click.IntRange(1), help="Threads on the CPU, for the sample.")
@_json_option
@force_option
@shared_options
def plan(
    scan: tuple[str, ...],
    listed: str | None,
    output: Path,
    sample: int,
    for_workers: int,
    price_per_hour: float | None,
    as_json: bool,
    force: bool,
    **settings: Any,
) -> None:
    """Write a manifest of all SCANs, and estimate time, bytes and cost from a sample.

    SCAN is what lits-infer takes: files, folders, and URIs of objects or prefixes. The manifest has
    a row for each scan: where it is, and what its results will be called. lits-infer reads it with
    --list, on any engine. Names under which there is no scan are told and left out.
    """
    check_ending(output, _MANIFESTS)
    load_nibabel()
    from lits_runtime.files.output_rule import Inputs, check_targets
    from lits_tools.archive.manifest import planned_rows, write_manifest

    check_targets([output], Inputs("the list", _here(listed)), force=force)
    rows, jobs = planned_rows(_names(scan, listed))
    if not rows:
        raise click.UsageError("no scan: name files, folders or URIs, or give --list")
    found = None
    if sample:
        found = _estimate(jobs, sample, for_workers, price_per_hour, settings)
    write_manifest(rows, output)
    logger.info("%s: %d scans", output, len(rows))
    if as_json:
        estimated = None if found is None else found.to_json()
        click.echo(json.dumps({"manifest": str(output), "scans": len(rows), "estimate": estimated}))
    elif found is not None:
        for line in _lines(found):
            logger.info("%s", line)


@main.command(cls=Command)
@click.argument("out")
@_list_option
@_json_option
@shared_options
def status(out: str, listed: str | None, as_json: bool) -> None:
    """Tell how many scans are done, failed, quarantined and left, by the records in OUT.

    OUT is the output folder or URI of lits-infer, whatever engine runs it. How many are left is
    known with the manifest.
    """
    from lits_tools.archive.found import found_jobs
    from lits_tools.archive.manifest import listed_ids
    from lits_tools.archive.status import status_of

    ids = None if listed is None else listed_ids(listed)
    found = status_of(found_jobs(out), ids)
    click.echo(json.dumps(found.to_json()) if as_json else _said(found))


@main.command(cls=Command)
@click.argument("out")
@click.option(
    "-o",
    "--output",
    type=NEW_FOLDER,
    required=True,
    help="Folder for archive.parquet and archive.html.",
)
@click.option(
    "--list",
    "listed",
    metavar="FILE",
    help="Manifest, which says where the scans are, so that pictures show the CT too.",
)
@force_option
@shared_options
def report(out: str, output: Path, listed: str | None, force: bool) -> None:
    """Write one table and one page over all records in OUT.

    archive.parquet has a row for each scan. archive.html shows distributions of volumes, burden,
    lesions, time and size, warnings and failures by kind, and pictures of scans that stand out.
    """
    load_nibabel()
    from lits_runtime.files.atomic import NewFiles
    from lits_runtime.files.output_rule import Inputs, check_targets
    from lits_tools.archive.found import found_jobs
    from lits_tools.archive.manifest import listed_scans
    from lits_tools.archive.page import archive_page
    from lits_tools.archive.table import as_parquet, table_of

    table_path, page_path = output / "archive.parquet", output / "archive.html"
    check_targets([table_path, page_path], Inputs("the list", _here(listed)), force=force)
    table = table_of(found_jobs(out))
    if not table.num_rows:
        raise click.UsageError(f"{out}: no record of lits-infer; name its output folder")
    page = archive_page(table, {} if listed is None else listed_scans(listed))
    with NewFiles() as new:
        new.open(table_path).write(as_parquet(table))
        new.open(page_path).write(page.encode())
        new.close()
        new.take_names()
    logger.info("%s: %d scans", page_path, table.num_rows)


def _here(listed: str | None) -> list[Path]:
    return [Path(listed)] if listed is not None and Path(listed).exists() else []


def _names(scan: tuple[str, ...], listed: str | None) -> "Sequence[Path | str | Row]":
    from lits_runtime.cli.scan_lists import scans_of

    return [*scan, *(scans_of(listed) if listed is not None else ())]


def _estimate(
    jobs: "Sequence[Job]",
    sample: int,
    workers: int,
    price: float | None,
    settings: dict[str, Any],
) -> "Estimate":
    from lits_runtime.batch import Settings
    from lits_tools.archive.estimate import estimate

    return estimate(jobs, Settings(**settings), sample, workers, price)


def _lines(found: "Estimate") -> list[str]:
    failed = f", of which {found.failed} failed" if found.failed else ""
    cost = "" if found.cost is None else f", cost {found.cost:,.2f}"
    return [
        f"sample of {found.sampled}{failed}: {found.seconds_a_scan:.2f} s a scan "
        f"(standard error {found.spread:.0%})",
        f"{found.scans:,} scans on {found.workers} workers: {found.hours:,.2f} h{cost}; "
        f"{found.read_gb:,.2f} GB read, {found.written_gb:,.3f} GB written",
    ]


def _said(found: "Status") -> str:
    parts = [f"{found.done:,} done", f"{found.failed:,} failed"]
    parts.append(f"{found.quarantined:,} quarantined")
    if found.left is not None:
        parts.append(f"{found.left:,} left")
    text = ", ".join(parts)
    if found.per_hour is not None:
        text += f"; {found.per_hour:,.0f} scans an hour"
    if found.hours_left:
        text += f", {found.hours_left:,.1f} h to go"
    return text + (f"; last one {found.last}" if found.last else "")
