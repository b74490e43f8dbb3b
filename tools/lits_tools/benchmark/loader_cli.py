"""Measure how fast training data loads: python -m lits_tools.benchmark.loader_cli DATA."""

from pathlib import Path

import click

from lits_runtime.cli.command import Command, shared_options
from lits_runtime.cli.options.arguments import EXISTING_FOLDER
from lits_tools.benchmark.measured.figures import check_output, output_options, write_json
from lits_train.settings.recipe import RECIPES


@click.command(cls=Command)
@click.argument("data", type=EXISTING_FOLDER)
@click.option("--recipe", type=click.Choice(list(RECIPES)), default="default", show_default=True)
@click.option("--size", type=click.IntRange(32), help="Working size.  [default: the recipe's]")
@click.option("--batch-size", type=click.IntRange(2), help="[default: the recipe's]")
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@click.option(
    "--workers", type=click.IntRange(0), default=0, show_default=True, help="Loader processes."
)
@click.option(
    "--steps", type=click.IntRange(1), default=30, show_default=True, help="Training steps."
)
@click.option(
    "--turns",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Repetitions of reading slices.",
)
@output_options("bench/prepared", "benchmark.json", "prepared data")
@shared_options
def main(
    data: Path,
    recipe: str,
    size: int | None,
    batch_size: int | None,
    device: str,
    workers: int,
    steps: int,
    turns: int,
    folder: Path,
    output: Path | None,
    force: bool,
) -> None:
    """Measure how fast the cases in DATA load: prepared, from memory, and sliced by nibabel."""
    from lits_tools.benchmark.loader import LoaderBenchmark

    check_output(output, force)
    settings = RECIPES[recipe].override(size=size, batch_size=batch_size)
    benchmark = LoaderBenchmark(data, folder, settings, device, workers, steps, turns)
    write_json(output or folder / "benchmark.json", figures=benchmark.measure())


if __name__ == "__main__":
    main()
