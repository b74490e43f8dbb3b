"""lits-infer: segment CT scans with an exported model."""

import logging
from pathlib import Path

import click

from lits_runtime.command import Command, shared_options

logger = logging.getLogger(__name__)


@click.command(cls=Command)
@click.argument("scan", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Mask to write, .nii or .nii.gz.  [default: SCAN_mask.nii.gz beside SCAN]",
)
@click.option(
    "-m",
    "--model",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Model written by lits-export.  [default: the bundled one]",
)
@click.option(
    "--provider",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="What to run on; what is asked for, or an error.",
)
@click.option("--threads", type=click.IntRange(1), help="For the CPU.  [default: all usable]")
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Axial slices that go through the network at once.",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite an existing mask.")
@shared_options
def main(
    scan: Path,
    output: Path | None,
    model: Path | None,
    provider: str,
    threads: int | None,
    batch_size: int,
    force: bool,
) -> None:
    """Segment the CT scan SCAN (NIfTI, any orientation) and write a mask on the scan's own grid.

    Labels are those of LiTS: 0 background, 1 liver, 2 lesion.
    """
    from lits_runtime.segmenter import Segmenter

    stem = scan.name.removesuffix(".gz").removesuffix(".nii")
    mask = output or scan.with_name(f"{stem}_mask.nii.gz")
    if not mask.name.endswith((".nii", ".nii.gz")):
        raise click.UsageError(f"{mask}: expected a name ending in .nii or .nii.gz")
    if mask.resolve() == scan.resolve():
        raise click.UsageError("the mask would overwrite the scan")
    if mask.exists() and not force:
        raise click.UsageError(f"{mask} exists; overwrite it with --force")
    segmenter = Segmenter.open(model, provider=provider, threads=threads)
    result = segmenter.segment_file(scan, mask, batch_size=batch_size)
    volumes = ", ".join(f"{name} {ml:.1f} ml" for name, ml in result.volumes_ml.items())
    logger.info("%s: %s (%s)", mask, volumes, result.provider)
