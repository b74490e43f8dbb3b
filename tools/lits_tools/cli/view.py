"""lits-view: draw a mask over its scan."""

import logging
from pathlib import Path

import click

from lits_runtime.cli.command import Command, shared_options
from lits_runtime.cli.options.arguments import EXISTING, EXISTING_FILE, NEW_FILE, force_option
from lits_runtime.files.output_rule import Inputs, check_targets
from lits_runtime.volumes.nifti.load_nibabel import load_nibabel
from lits_tools.cli.arguments import check_ending
from lits_tools.view.display import DPI, ENDINGS, GIF_DPI, VIEW_NAMES, WINDOW_HU
from lits_tools.view.planes import PLANES

logger = logging.getLogger(__name__)


@click.command(cls=Command)
@click.argument("scan", type=EXISTING)
@click.option(
    "--mask",
    type=EXISTING_FILE,
    required=True,
    help="Labels on the scan's grid: 0 background, 1 liver, 2 lesion; or a DICOM SEG.",
)
@click.option("--reference", type=EXISTING_FILE, help="Reference labels to compare the mask with.")
@click.option(
    "-o",
    "--output",
    type=NEW_FILE,
    required=True,
    help="Figure to write: .png, .pdf or .svg, .gif to play through the slices, or .html: three "
    "planes to scroll through, and a list of the lesions.",
)
@click.option(
    "--view",
    "views",
    type=click.Choice(VIEW_NAMES),
    multiple=True,
    help="View to draw; repeatable.  [default: all of them on one sheet]",
)
@click.option(
    "--slice",
    "slices",
    default="auto",
    show_default=True,
    metavar="N|largest|worst|montage",
    help="Slice number from 1, the largest lesion, the worst disagreement, or a montage of evenly "
    "spaced slices of the liver; auto shows the largest lesion and the worst disagreement.",
)
@click.option(
    "--plane",
    type=click.Choice(list(PLANES)),
    default="axial",
    show_default=True,
    help="Slice 1 is the most inferior, anterior or right one.",
)
@click.option(
    "--window",
    "window_hu",
    type=float,
    nargs=2,
    default=WINDOW_HU,
    show_default=True,
    help="HU shown as black and as white.",
)
@click.option(
    "--dpi",
    type=click.IntRange(20, 1200),
    help=f"Resolution.  [default: {DPI}, of a .gif {GIF_DPI}]",
)
@click.option(
    "--series",
    metavar="UID|NUMBER",
    help="DICOM series to take of several.  [default: that of a DICOM SEG, or the most fitting]",
)
@click.option(
    "--ignore-affine",
    is_flag=True,
    help="Match the voxels of masks and scan by index, even if their affines differ; not for DICOM "
    "SEG.",
)
@force_option
@shared_options
def main(
    scan: Path,
    mask: Path,
    reference: Path | None,
    output: Path,
    views: tuple[str, ...],
    slices: str,
    plane: str,
    window_hu: tuple[float, float],
    dpi: int | None,
    series: str | None,
    ignore_affine: bool,
    force: bool,
) -> None:
    """Draw a mask over its SCAN, in radiological orientation: the patient's right on the left.

    SCAN is a NIfTI file, or a DICOM series: a folder, a ZIP archive or a file.
    """
    _check_output(output, views, slices, plane)
    inputs = Inputs("the scan", [scan]).add("a mask", [mask, *([reference] if reference else [])])
    check_targets([output], inputs, force=force)
    if window_hu[0] >= window_hu[1]:
        raise click.UsageError(f"--window {window_hu}: expected the lower value first")

    load_nibabel()
    from lits_tools.view.page import save_viewer
    from lits_tools.view.sheets import save_animation, save_figure, sheet
    from lits_tools.view.view_data import open_view

    view = open_view(scan, mask, reference, series=series, ignore_affine=ignore_affine)
    try:
        if output.suffix == ".html":
            save_viewer(view, output, window_hu=window_hu)
        elif output.suffix == ".gif":
            save_animation(
                view, output, views=views, plane=plane, window_hu=window_hu, dpi=dpi or GIF_DPI
            )
        else:
            figure = sheet(view, views=views, slices=slices, plane=plane, window_hu=window_hu)
            save_figure(figure, output, dpi=dpi or DPI)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    logger.info("%s: %s", output, "; ".join(view.captions))


def _check_output(output: Path, views: tuple[str, ...], slices: str, plane: str) -> None:
    check_ending(output, ENDINGS)
    if output.suffix in (".gif", ".html") and slices != "auto":
        raise click.UsageError(f"{output} shows all slices of the liver: omit --slice")
    if output.suffix == ".html" and views:
        raise click.UsageError(f"{output} lets its reader choose the view: omit --view")
    if output.suffix == ".html" and plane != "axial":
        raise click.UsageError(f"{output} shows all three planes: omit --plane")
