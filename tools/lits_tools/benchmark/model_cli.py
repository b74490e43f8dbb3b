"""Measure networks and files: python -m lits_tools.benchmark.model_cli, or make bench-model."""

import json
import logging
from dataclasses import asdict
from pathlib import Path

import click

from lits_runtime.cli.command import Command, shared_options

logger = logging.getLogger("lits_tools.benchmark.model")  # as a script this is __main__

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Command)
@click.option(
    "--checkpoint",
    "checkpoints",
    type=_FILE,
    multiple=True,
    help="Trained networks.  [default: an untrained one of each recipe, for speed alone]",
)
@click.option("--scan", type=_FILE, help="CT to run and to calibrate on.  [default: the phantom]")
@click.option("--runs", type=click.IntRange(1), default=7, show_default=True, help="Of each way.")
@click.option(
    "--provider", type=click.Choice(["cpu", "cuda", "tensorrt"]), default="cpu", show_default=True
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("bench"),
    show_default=True,
    help="For exported models, which are made if they are missing.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Figures as JSON, a new file.  [default: FOLDER/benchmark_model.json]",
)
@shared_options
def main(
    checkpoints: tuple[Path, ...],
    scan: Path | None,
    runs: int,
    provider: str,
    folder: Path,
    output: Path | None,
) -> None:
    """Slices per second of torch and of the files in fp32, fp16 and int8, in turn; sizes, parity.

    On a GPU also the nodes that fall back to the CPU.
    """
    from lits_runtime.files.atomic import atomic_path
    from lits_runtime.files.output_rule import Inputs, check_targets
    from lits_runtime.phantom.ct import make_phantom
    from lits_runtime.volumes.scan import Scan
    from lits_tools.benchmark.model import ModelBenchmark
    from lits_tools.benchmark.model_files import exported, untrained
    from lits_tools.benchmark.runtime import line, machine

    check_targets([output] if output else [], Inputs("a checkpoint", checkpoints), force=False)
    folder.mkdir(parents=True, exist_ok=True)
    if scan is None:
        phantom = make_phantom(1, matrix=512, slices=40, lesions=3)
        opened = Scan.open((phantom.volume_hu, phantom.affine)).load()
    else:
        opened = Scan.open(scan).load()
    volume_hu = opened.read_slab(0, opened.geometry.canonical_shape[0])
    content = {}
    for checkpoint in checkpoints or untrained(folder):
        models = exported(checkpoint, scan, folder, trained=bool(checkpoints))
        figures = ModelBenchmark(checkpoint, models, volume_hu, provider, runs).measure()
        logger.info("%s on %s", checkpoint, provider)
        for figure in figures:
            logger.info("  %s", line(figure))
        content[str(checkpoint)] = [asdict(figure) for figure in figures]
    with atomic_path(output or folder / "benchmark_model.json") as temporary:
        told = {"on": machine(), "provider": provider, "figures": content}
        temporary.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
