"""Measure the runtime: python -m lits_tools.benchmark.runtime_cli, or make bench."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from lits_runtime.cli.command import Command, shared_options

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=Command)
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    metavar="NAME=FILE",
    help="Models by precision, for example fp16=model.onnx.  [default: the bundled one]",
)
@click.option("--checkpoint", type=_FILE, help="Of the seed recipe, for the seed's way.")
@click.option("--source", type=_FILE, help="CT to make the scan from.  [default: the phantom]")
@click.option("--small", type=_FILE, help="Small scan, for the time to a first result.")
@click.option("--slices", type=click.IntRange(2), default=300, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=5, show_default=True, help="Of each.")
@click.option(
    "--provider", type=click.Choice(["cpu", "cuda", "tensorrt"]), default="cpu", show_default=True
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Figures as JSON, a new file.  [default: FOLDER/benchmark.json]",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("bench"),
    show_default=True,
    help="For scans and masks.",
)
@shared_options
def main(
    models: tuple[str, ...],
    checkpoint: Path | None,
    source: Path | None,
    small: Path | None,
    slices: int,
    runs: int,
    provider: str,
    output: Path | None,
    folder: Path,
) -> None:
    """Measure speed and memory of lits-infer as whole processes, in turn with what they beat."""
    from lits_runtime.files.atomic import atomic_path
    from lits_runtime.files.output_rule import Inputs, check_targets
    from lits_runtime.model.bundled import bundled_model
    from lits_tools.benchmark.runtime import Benchmark, machine

    check_targets([output] if output else [], Inputs(), force=False)
    named = {}
    for model in models:
        name, _, file = model.partition("=")
        if not Path(file).is_file():
            raise click.UsageError(f"{model!r}: expected NAME=FILE with a model")
        named[name] = Path(file)
    benchmark = Benchmark(
        named or {"bundled": bundled_model()},
        checkpoint,
        source,
        small,
        folder,
        slices=slices,
        runs=runs,
        provider=provider,
    )
    figures = benchmark.measure()
    with atomic_path(output or folder / "benchmark.json") as temporary:
        content = {"on": machine(), "figures": [asdict(figure) for figure in figures]}
        temporary.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
