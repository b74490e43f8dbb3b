"""The engine that --engine names, opened with its options."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import click

from lits_runtime.cli.command import section

if TYPE_CHECKING:
    from lits_runtime.batch import Settings
    from lits_runtime.batch.engine import BatchEngine

ENGINES = ("local", "ray")
"""Those of `batch.engine`, which takes longer to import than a command takes to start."""
_option = section("Engine")
_OPTIONS = (
    _option(
        "--engine",
        type=click.Choice(ENGINES),
        default=ENGINES[0],
        show_default=True,
        help="What runs the scans: this process, or the workers of a Ray cluster.",
    ),
    _option(
        "--ray-address",
        metavar="ADDRESS",
        help="Cluster, as in ray.init.  [default: one of this machine's own, for this run]",
    ),
    _option(
        "--workers",
        type=click.IntRange(1),
        help="Workers on the cluster, each with a GPU or --threads.  [default: as many as fit]",
    ),
    _option(
        "--scratch-gb",
        type=click.FloatRange(0, min_open=True),
        help="Room for scans fetched from stores, for each process.  [default: 17]",
    ),
)


def engine_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options under the heading "Engine"."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@contextmanager
def opened(
    engine: str, settings: "Settings", address: str | None, workers: int | None
) -> "Iterator[str | BatchEngine]":
    """An engine for one run; `local` by its name, since `run_batch` opens it.

    Raises:
        EngineError: no cluster answers.
        click.UsageError: options of another engine.
    """
    if engine == "local":
        if address is not None or workers is not None:
            raise click.UsageError("--ray-address and --workers need --engine ray")
        yield engine
        return
    from lits_runtime.batch.ray_engine.engine import RayEngine, RayOptions

    with closing(RayEngine.open(settings, RayOptions(address, workers))) as running:
        yield running
