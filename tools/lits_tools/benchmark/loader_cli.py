"""Measure the loading of training data: python -m lits_tools.benchmark.loader_cli DATA."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from lits_runtime.cli.command import Command, shared_options


@click.command(cls=Command)
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--recipe", type=click.Choice(["default", "baseline"]), default="default")
@click.option("--size", type=click.IntRange(32), help="Working size.  [default: the recipe's]")
@click.option("--batch-size", type=click.IntRange(2), help="[default: the recipe's]")
@click.option("--device", default="cpu", show_default=True)
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=30, show_default=True, help="Of training.")
@click.option("--turns", type=click.IntRange(1), default=5, show_default=True, help="Of reading.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("bench/prepared"),
    show_default=True,
    help="For prepared data.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Figures as JSON, a new file.  [default: benchmark.json in FOLDER]",
)
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
) -> None:
    """Measure how fast the cases in DATA come, prepared, in memory and sliced by nibabel."""
    from lits_runtime.files.atomic import atomic_path
    from lits_runtime.files.output_rule import Inputs, check_targets
    from lits_tools.benchmark.loader import LoaderBenchmark
    from lits_tools.benchmark.runtime import machine
    from lits_train.settings.recipe import RECIPES

    check_targets([output] if output else [], Inputs(), force=False)
    settings = RECIPES[recipe].override(size=size, batch_size=batch_size)
    benchmark = LoaderBenchmark(data, folder, settings, device, workers, steps, turns)
    figures = benchmark.measure()
    with atomic_path(output or folder / "benchmark.json") as temporary:
        content = {"on": machine(), "figures": [asdict(figure) for figure in figures]}
        temporary.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
