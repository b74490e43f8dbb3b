"""Measure the runtime: python -m lits_tools.benchmark.runtime_cli, or make bench."""

from pathlib import Path

import click

from lits_runtime.cli.command import Command, shared_options
from lits_runtime.cli.options.arguments import EXISTING_FILE
from lits_tools.benchmark.measured.figures import (
    check_output,
    output_options,
    provider_option,
    write_json,
)


@click.command(cls=Command)
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    metavar="NAME=FILE",
    help="Model to measure, for example fp16=model.onnx; repeatable.  [default: the bundled one]",
)
@click.option(
    "--checkpoint",
    type=EXISTING_FILE,
    help="Checkpoint of the baseline recipe: compare with the original system's inference.",
)
@click.option(
    "--source", type=EXISTING_FILE, help="CT to make the scan from.  [default: the phantom]"
)
@click.option(
    "--small", type=EXISTING_FILE, help="Small scan, to measure the time to the first result."
)
@click.option(
    "--slices", type=click.IntRange(2), default=300, show_default=True, help="Slices of the scan."
)
@click.option(
    "--many-slices",
    type=click.IntRange(2),
    default=1000,
    show_default=True,
    help="Slices of a long scan, to compare peak memory.",
)
@click.option(
    "--runs", type=click.IntRange(1), default=5, show_default=True, help="Runs of each command."
)
@provider_option
@output_options("bench", "benchmark.json", "scans and masks")
@shared_options
def main(
    models: tuple[str, ...],
    checkpoint: Path | None,
    source: Path | None,
    small: Path | None,
    slices: int,
    many_slices: int,
    runs: int,
    provider: str,
    folder: Path,
    output: Path | None,
    force: bool,
) -> None:
    """Measure the speed and the memory of lits-infer as a whole process.

    Commands that are compared run in turn.
    """
    from lits_runtime.model.bundled import bundled_model
    from lits_tools.benchmark.runtime import Benchmark

    check_output(output, force)
    benchmark = Benchmark(
        _by_name(models) or {"bundled": bundled_model()},
        checkpoint,
        source,
        small,
        folder,
        slices=slices,
        many_slices=many_slices,
        runs=runs,
        provider=provider,
    )
    write_json(output or folder / "benchmark.json", figures=benchmark.measure())


def _by_name(models: tuple[str, ...]) -> dict[str, Path]:
    named = {}
    for model in models:
        name, _, file = model.partition("=")
        if not Path(file).is_file():
            raise click.UsageError(f"{model!r}: expected NAME=FILE with an existing model")
        named[name] = Path(file)
    return named


if __name__ == "__main__":
    main()
