"""lits-data: download, import, check, prepare and simulate data sets."""

import json
import logging
from pathlib import Path

import click

from lits_runtime.cli.command import Command, shared_options
from lits_runtime.cli.options.arguments import (
    EXISTING_FILE,
    EXISTING_FOLDER,
    NEW_FOLDER,
    force_option,
)

logger = logging.getLogger(__name__)

_JOBS = click.option(
    "-j", "--jobs", type=click.IntRange(1), help="Processes.  [default: available processors]"
)


class OrderedGroup(click.Group):
    """A group that lists its commands in the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands."""
        return list(self.commands)


@click.group(cls=OrderedGroup)
@click.version_option(package_name="lits-toolkit")
def main() -> None:
    """Download, import, check, prepare or simulate LiTS-style data sets of CT volumes and masks."""


@main.command(cls=Command)
@click.argument("folder", type=NEW_FOLDER)
@click.option(
    "--space-check/--no-space-check",
    default=True,
    help="Refuse to start with less than about 60 GB of free space.",
)
@shared_options
def download(folder: Path, space_check: bool) -> None:
    """Download LiTS from Kaggle to FOLDER.

    LiTS is 131 pairs volume-ID.nii and segmentation-ID.nii. They take about 50 GB, and 10 GB more
    while downloading. If it is interrupted, the same command resumes it. Kaggle credentials come
    from KAGGLE_API_TOKEN, from KAGGLE_USERNAME and KAGGLE_KEY, or from ~/.kaggle/kaggle.json. If
    KAGGLEHUB_CACHE is set, the files stay in that cache and FOLDER links to them. The exit status
    is 1 if a pair is missing at the end.
    """
    from lits_train.data.download import download as download_lits

    pairs = download_lits(folder, check_space=space_check)
    logger.info("%s: %d pairs, complete", folder, pairs)


@main.command("import", cls=Command)
@click.argument("source", type=EXISTING_FOLDER)
@click.option("-o", "--output", type=NEW_FOLDER, required=True, help="New folder for the pairs.")
@click.option(
    "--layout",
    type=click.Choice(("auto", "msd", "nnunet", "ircadb")),
    default="auto",
    show_default=True,
    help="Of SOURCE: MSD Task03_Liver, raw data of nnU-Net, or patients of 3D-IRCADb-01.",
)
@click.option("--copy", is_flag=True, help="Copy files instead of linking to them.")
@click.option("--splits", type=EXISTING_FILE, help="nnU-Net's splits_final.json, if not beside it.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per case.")
@shared_options
def import_(
    source: Path, output: Path, layout: str, copy: bool, splits: Path | None, as_json: bool
) -> None:
    """Import a data set of others to a new folder of pairs.

    SOURCE is the folder with dataset.json, imagesTr and labelsTr, or the one with the patients'
    folders (PATIENT_DICOM and MASKS_DICOM, as folders or .zip). NIfTI files are linked, so that
    nothing is copied and SOURCE must stay where it is; masks whose labels have other values are
    rewritten, DICOM is converted. Labels are told by their names. The exit status is 1 if a case
    could not be imported.
    """
    from dataclasses import replace

    from rich.console import Console

    from lits_train.data.imports.layouts import find_layout
    from lits_train.data.imports.report import left_out_lines, report_records, report_table
    from lits_train.data.imports.splits import find_splits
    from lits_train.data.imports.write import import_pairs

    found = find_layout(source, layout)
    found = replace(found, splits=splits or find_splits(source))
    imported, left_out = import_pairs(found, output, copy=copy)
    if as_json:
        for record in report_records(imported, left_out):
            click.echo(json.dumps(record))
    else:
        console = Console(width=max(Console().width, 120), soft_wrap=True)
        console.print(report_table(imported), *left_out_lines(left_out), sep="\n")
    failed = len(found.pairs) - len(imported)
    logger.info("%s: %d cases of %s, %d failed", output, len(imported), found.layout, failed)
    if failed:
        click.get_current_context().exit(1)


@main.command(cls=Command)
@click.argument("folder", type=EXISTING_FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per case.")
@_JOBS
@shared_options
def check(folder: Path, as_json: bool, jobs: int | None) -> None:
    """Check the cases in FOLDER and print them as a table.

    It shows geometry, HU, labels, lesions and problems. Every voxel is read. Lesions are
    6-connected components of label 2, as lits-eval counts them. The exit status is 1 if a case is
    unusable.
    """
    from rich.console import Console

    from lits_runtime.system.processors import usable_processors
    from lits_train.data.case_files import case_order
    from lits_train.data.examine import examine, files_of
    from lits_train.data.examine_table import remarks, report_table
    from lits_train.data.parallel import in_processes

    files = files_of(folder)
    found = in_processes(examine, files, jobs or usable_processors(), "check")
    reports = sorted((report for _, report in found), key=lambda one: case_order(one.case_id))
    if as_json:
        for report in reports:
            click.echo(json.dumps(report.to_json()))
    else:
        # Wrapped lines are better than truncated figures.
        console = Console(width=max(Console().width, 120), soft_wrap=True)
        console.print(report_table(reports), *remarks(reports), sep="\n")
    unusable = sum(bool(report.problems) for report in reports)
    logger.info("%d cases, %d of them unusable", len(reports), unusable)
    if unusable:
        click.get_current_context().exit(1)


@main.command(cls=Command)
@click.argument("folder", type=EXISTING_FOLDER)
@click.option(
    "-o",
    "--output",
    type=NEW_FOLDER,
    required=True,
    help="Folder for the prepared data.",
)
@click.option(
    "--size",
    type=click.IntRange(32, 1024),
    default=192,
    show_default=True,
    help="Working size of the recipe to train.",
)
@click.option("-f", "--force", is_flag=True, help="Start over, and replace what is there.")
@_JOBS
@shared_options
def prepare(folder: Path, output: Path, size: int, force: bool, jobs: int | None) -> None:
    """Convert the cases of FOLDER to arrays for training.

    Slices are oriented canonically and resized to SIZE x SIZE; geometry that a header has lost is
    repaired. cases.json in FOLDER may list cases whose lesions are not marked, and voxel sizes:
    {"liver_only": ["28"], "spacing_mm": {"29": [0.78, 0.78, 1.6]}}. The same command resumes an
    interrupted preparation, and converts only what is new. The exit status is 1 if a case is
    unusable.
    """
    from lits_runtime.system.processors import usable_processors
    from lits_train.data.cases import find_cases
    from lits_train.prepared.convert import prepare as prepare_cases

    cases = find_cases(folder)
    result = prepare_cases(cases, output, size, jobs=jobs or usable_processors(), force=force)
    logger.info(
        "%s: %d cases prepared, %d kept, %d skipped",
        *(output, len(result.prepared), len(result.kept), len(result.skipped)),
    )
    for case_id, reason in result.skipped.items():
        logger.error("case %s is skipped: %s", case_id, reason)
    if result.skipped:
        click.get_current_context().exit(1)


@main.command(cls=Command)
@click.argument("folder", type=NEW_FOLDER)
@click.option(
    "--count", type=click.IntRange(1), default=1, show_default=True, help="Number of cases."
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the first case."
)
@click.option(
    "--matrix",
    type=click.IntRange(16, 1024),
    default=512,
    show_default=True,
    help="Rows and columns.",
)
@click.option(
    "--slices",
    type=click.IntRange(1, 2000),
    default=60,
    show_default=True,
    help="Number of axial slices.",
)
@click.option("--spacing", type=float, nargs=3, help="Voxel size in mm, in stored axis order.")
@click.option(
    "--orientation",
    type=click.Choice(["LPS", "LAS", "RAS"]),
    default="LPS",
    show_default=True,
    help="Directions of the stored axes.",
)
@click.option("--lesions", type=click.IntRange(0), help="Lesions per case.  [default: random]")
@click.option("--gzip/--no-gzip", default=True, show_default=True, help="Write .nii.gz or .nii.")
@force_option
@shared_options
def phantom(
    folder: Path,
    count: int,
    seed: int,
    matrix: int,
    slices: int,
    spacing: tuple[float, float, float] | None,
    orientation: str,
    lesions: int | None,
    gzip: bool,
    force: bool,
) -> None:
    """Simulate CT phantoms of the abdomen in FOLDER.

    They are saved as volume-SEED and segmentation-SEED. A seed always gives the same anatomy,
    whatever the matrix and orientation.
    """
    from lits_runtime.phantom.ct import make_phantom, write_phantom

    for case_seed in range(seed, seed + count):
        try:
            made = make_phantom(
                case_seed,
                matrix=matrix,
                slices=slices,
                spacing_mm=spacing,
                orientation=orientation,
                lesions=lesions,
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        volume, segmentation = write_phantom(folder, case_seed, made, gzip=gzip, force=force)
        logger.info("%s %s", volume, segmentation)
