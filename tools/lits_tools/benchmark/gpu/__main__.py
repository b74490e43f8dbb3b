"""Measure training and inference on a GPU: python -m lits_tools.benchmark.gpu OUT.json."""

from pathlib import Path

import click

from lits_runtime.cli.command import Command, shared_options
from lits_runtime.cli.options.arguments import NEW_FILE
from lits_tools.benchmark.measured.figures import check_output, write_json


@click.command(cls=Command)
@click.argument("output", type=NEW_FILE)
@click.option(
    "--device",
    type=click.Choice(["cuda", "cpu"]),
    default="cuda",
    show_default=True,
    help="cpu shows that the script works; its figures say nothing about GPUs.",
)
@click.option("--quick", is_flag=True, help="Small networks' inputs and few repetitions.")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0.1),
    default=10,
    show_default=True,
    help="Time after which no further measurement is begun.",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite OUTPUT.")
@shared_options
def main(output: Path, device: str, quick: bool, minutes: float, force: bool) -> None:
    """Measure all that needs a GPU, and write OUTPUT, one JSON file.

    Training steps per second of both recipes in each precision, channels last or first, compiled,
    and the waits of a step for the device; on CUDA and TensorRT parity with PyTorch, speed, nodes
    that fall back to the CPU, and seconds for a CT of 512 x 512 x 400. What could not be measured
    is listed under "missing", with the reason.
    """
    import torch

    from lits_tools.benchmark.gpu.plan import Plan, measure

    check_output(output, force)
    if device == "cuda" and not torch.cuda.is_available():
        raise click.UsageError(
            "PyTorch finds no CUDA device here: run this on a machine with an NVIDIA GPU, or try "
            "the script with --device cpu --quick"
        )
    results = measure(Plan.of(device, quick, minutes))
    write_json(output, device=device, quick=quick, **results)


if __name__ == "__main__":
    main()
