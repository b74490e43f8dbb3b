"""lits-view: draw a mask over its scan."""

import logging
from pathlib import Path

import click

from lits_runtime.command import Command, shared_options

logger = logging.getLogger(__name__)


@click.command(cls=Command)
@click.argument("scan", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--mask",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="Labels on the scan's grid: 0 background, 1 liver, 2 lesion.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="Figure to write: .png, .pdf or .svg.",
)
@click.option("--columns", type=click.IntRange(1), default=3, show_default=True, help="Slices.")
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing figure.")
@shared_options
def main(scan: Path, mask: Path, output: Path, columns: int, force: bool) -> None:
    """Draw axial slices of SCAN, plain and with the mask, patient's right on the left."""
    if output.suffix not in (".png", ".pdf", ".svg"):
        raise click.UsageError(f"{output}: expected a name ending in .png, .pdf or .svg")
    if output.exists() and not force:
        raise click.UsageError(f"{output} exists; overwrite it with --force")

    from lits_runtime.volume import Scan
    from lits_tools.view import overlay_sheet, save_figure

    save_figure(overlay_sheet(Scan.open(scan), Scan.open(mask), columns=columns), output)
    logger.info("%s", output)
