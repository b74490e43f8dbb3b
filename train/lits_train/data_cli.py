"""lits-data: make and look at data sets."""

import logging
from pathlib import Path

import click

from lits_runtime.command import Command, shared_options

logger = logging.getLogger(__name__)


@click.group()
@click.version_option(package_name="lits-toolkit")
def main() -> None:
    """Make data sets of CT volumes and masks in the form of LiTS."""


@main.command(cls=Command)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, help="Cases.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the first.")
@click.option("--matrix", type=click.IntRange(16, 1024), default=512, show_default=True)
@click.option("--slices", type=click.IntRange(1, 2000), default=60, show_default=True)
@click.option("--spacing", type=float, nargs=3, help="Voxel size in mm, stored axis order.")
@click.option(
    "--orientation",
    type=click.Choice(["LPS", "LAS", "RAS"]),
    default="LPS",
    show_default=True,
    help="Where the stored axes point.",
)
@click.option("--lesions", type=click.IntRange(0), help="In each case.  [default: by seed]")
@click.option("--gzip/--no-gzip", default=True, show_default=True, help=".nii.gz or .nii")
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
) -> None:
    """Write CT phantoms of the abdomen to FOLDER as volume-SEED and segmentation-SEED.

    The same seed gives the same anatomy, whatever the matrix and orientation.
    """
    from lits_runtime.phantom import make_phantom, write_phantom

    for case_seed in range(seed, seed + count):
        made = make_phantom(
            case_seed,
            matrix=matrix,
            slices=slices,
            spacing_mm=spacing,
            orientation=orientation,
            lesions=lesions,
        )
        volume, segmentation = write_phantom(folder, case_seed, made, gzip=gzip)
        logger.info("%s %s", volume, segmentation)
