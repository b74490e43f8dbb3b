"""lits-view: draw a mask over its scan."""

import logging
from pathlib import Path

import click

from lits_runtime.cli.command import Command, shared_options
from lits_runtime.files.output_rule import Inputs, check_targets

logger = logging.getLogger(__name__)

_ENDINGS = (".png", ".pdf", ".svg", ".gif", ".html")
_VIEWS = ("ct", "predicted", "reference", "overlay", "contours", "difference", "context")


@click.command(cls=Command)
@click.argument("scan", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--mask",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="Labels on the scan's grid: 0 background, 1 liver, 2 lesion.",
)
@click.option(
    "--reference",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Labels that the mask should have had.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="Figure to write: .png, .pdf or .svg; .gif runs through the slices; .html scrolls.",
)
@click.option(
    "--view",
    "views",
    type=click.Choice(_VIEWS),
    multiple=True,
    help="One view, or several, instead of all on one sheet.",
)
@click.option(
    "--slice",
    "slices",
    default="auto",
    show_default=True,
    metavar="N|largest|worst|montage",
    help="Slice from 1, the largest lesion, the worst disagreement, or steps through the liver; "
    "auto is the largest lesion and the worst disagreement.",
)
@click.option(
    "--plane",
    type=click.Choice(["axial", "coronal", "sagittal"]),
    default="axial",
    show_default=True,
    help="Slice 1 is the most inferior, anterior or right one.",
)
@click.option(
    "--window",
    "window_hu",
    type=float,
    nargs=2,
    default=(-100.0, 240.0),
    show_default=True,
    help="HU shown as black and as white.",
)
@click.option("--dpi", type=click.IntRange(20, 1200), help="Of a picture.  [default: 120, gif: 80]")
@click.option(
    "--ignore-affine",
    is_flag=True,
    help="Take the masks' voxels for the scan's, although their affines differ.",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing figure.")
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
    ignore_affine: bool,
    force: bool,
) -> None:
    """Draw SCAN with its mask, as a radiologist expects it: the patient's right on the left."""
    if output.suffix not in _ENDINGS:
        raise click.UsageError(f"{output}: expected a name ending in {', '.join(_ENDINGS)}")
    inputs = Inputs("the scan", [scan]).add("a mask", [mask, *([reference] if reference else [])])
    check_targets([output], inputs, force=force)
    if window_hu[0] >= window_hu[1]:
        raise click.UsageError(f"--window {window_hu}: expected the lower value first")
    if output.suffix in (".gif", ".html") and slices != "auto":
        raise click.UsageError(f"{output} holds all slices of the liver: leave --slice away")
    if output.suffix == ".html" and views:
        raise click.UsageError(f"{output} lets its reader choose the view: leave --view away")

    from lits_tools.view.page import save_viewer
    from lits_tools.view.sheets import DPI, save_animation, save_figure, sheet
    from lits_tools.view.view_data import open_view

    view = open_view(scan, mask, reference, ignore_affine=ignore_affine)
    try:
        if output.suffix == ".html":
            save_viewer(view, output, plane=plane, window_hu=window_hu)
        elif output.suffix == ".gif":
            save_animation(
                view, output, views=views, plane=plane, window_hu=window_hu, dpi=dpi or 80
            )
        else:
            figure = sheet(view, views=views, slices=slices, plane=plane, window_hu=window_hu)
            save_figure(figure, output, dpi=dpi or DPI)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    logger.info("%s: %s", output, "; ".join(view.captions))
