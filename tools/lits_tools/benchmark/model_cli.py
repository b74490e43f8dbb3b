"""Measure networks and files: python -m lits_tools.benchmark.model_cli, or make bench-model."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lits_runtime.cli.command import Command, shared_options
from lits_runtime.cli.options.arguments import EXISTING_FILE
from lits_tools.benchmark.measured.figures import (
    check_output,
    line,
    output_options,
    provider_option,
    write_json,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger("lits_tools.benchmark.model")  # as a script this is __main__


@click.command(cls=Command)
@click.option(
    "--checkpoint",
    "checkpoints",
    type=EXISTING_FILE,
    multiple=True,
    help="Trained network; repeatable.  [default: an untrained one of each recipe, for speed only]",
)
@click.option(
    "--scan", type=EXISTING_FILE, help="CT to run and calibrate on.  [default: the phantom]"
)
@click.option(
    "--matrix",
    type=click.IntRange(32, 1024),
    default=512,
    show_default=True,
    help="Rows and columns of the phantom.",
)
@click.option(
    "--runs",
    type=click.IntRange(1),
    default=7,
    show_default=True,
    help="Measurements of each implementation.",
)
@provider_option
@output_options("bench", "benchmark_model.json", "exported models, which are made if missing")
@shared_options
def main(
    checkpoints: tuple[Path, ...],
    scan: Path | None,
    matrix: int,
    runs: int,
    provider: str,
    folder: Path,
    output: Path | None,
    force: bool,
) -> None:
    """Compare PyTorch with the exported file of each precision: speed, file size and parity.

    On a GPU, also count the nodes that fall back to the CPU.
    """
    from lits_tools.benchmark.model import ModelBenchmark, exported, untrained

    check_output(output, force, checkpoints)
    folder.mkdir(parents=True, exist_ok=True)
    volume_hu = _volume_hu(scan, matrix)
    content = {}
    for checkpoint in checkpoints or untrained(folder):
        models = exported(checkpoint, scan, folder, trained=bool(checkpoints))
        figures = ModelBenchmark(checkpoint, models, volume_hu, provider, runs).measure()
        logger.info("%s on %s", checkpoint, provider)
        for figure in figures:
            logger.info("  %s", line(figure))
        content[str(checkpoint)] = figures
    write_json(output or folder / "benchmark_model.json", provider=provider, figures=content)


def _volume_hu(scan: Path | None, matrix: int) -> "NDArray[np.float32]":
    from lits_runtime.phantom.ct import make_phantom
    from lits_runtime.volumes.scan import Scan

    if scan is None:
        phantom = make_phantom(1, matrix=matrix, slices=40, lesions=3)
        opened = Scan.open((phantom.volume_hu, phantom.affine)).load()
    else:
        opened = Scan.open(scan).load()
    return opened.read_slab(0, opened.geometry.canonical_shape[0])


if __name__ == "__main__":
    main()
