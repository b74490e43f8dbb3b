"""Engines compared on the same scans: local, and Ray with one and with two workers of one thread.

python -m lits_tools.benchmark.archive_engines [--scans 24] [--turns 3]
"""

import shutil
import statistics
import tempfile
import time
from pathlib import Path

import click

from lits_runtime.batch import Settings, run_batch
from lits_runtime.batch.engine import BatchEngine
from lits_runtime.batch.jobs import plan
from lits_runtime.batch.local import LocalEngine
from lits_runtime.phantom.ct import make_phantom, write_phantom

_SIDES = {"local": 0, "ray, 1 worker": 1, "ray, 2 workers": 2}


def timed(folder: Path, settings: Settings, workers: int) -> tuple[float, int]:
    """Seconds from the second outcome to the last, and how many scans that were.

    What starts once (Ray, workers, the model) is over by then, but for the last workers' starts.
    """
    engine: BatchEngine = LocalEngine.open(settings)
    if workers:
        from lits_runtime.batch.ray_engine.engine import RayEngine, RayOptions

        engine = RayEngine.open(settings, RayOptions(workers=workers))
    out = Path(tempfile.mkdtemp(prefix="lits-bench-"))
    try:
        moments = []
        for outcome in run_batch(plan([folder], out), settings, engine=engine):
            if outcome.error is not None:
                raise outcome.error
            moments.append(time.perf_counter())
        first = 2 * max(workers, 1)
        return moments[-1] - moments[first], len(moments) - 1 - first
    finally:
        shutil.rmtree(out)


@click.command()
@click.option("--scans", default=24, show_default=True)
@click.option("--slices", default=60, show_default=True)
@click.option("--turns", default=3, show_default=True)
def main(scans: int, slices: int, turns: int) -> None:
    """Print seconds a scan, medians of turns, and the ratios that matter."""
    settings = Settings(provider="cpu", threads=1)
    with tempfile.TemporaryDirectory(prefix="lits-bench-") as name:
        folder = Path(name)
        phantom = make_phantom(1, matrix=256, slices=slices, lesions=3)
        first, mask = write_phantom(folder, 0, phantom, gzip=True)
        mask.unlink()
        for number in range(1, scans):
            shutil.copy(first, folder / f"volume-{number}.nii.gz")
        found: dict[str, list[float]] = {side: [] for side in _SIDES}
        for _ in range(turns):
            for side, workers in _SIDES.items():
                seconds, count = timed(folder, settings, workers)
                found[side].append(seconds / count)
    medians = {side: statistics.median(values) for side, values in found.items()}
    for side, value in medians.items():
        click.echo(f"{side}: {value:.3f} s a scan")
    one, two = medians["ray, 1 worker"], medians["ray, 2 workers"]
    click.echo(f"two workers over one: {one / two:.2f}")
    click.echo(f"overhead of Ray: {1000 * (one - medians['local']):.0f} ms a scan")


if __name__ == "__main__":
    main()
