"""A plan on paper: how long an archive takes on so many workers, and what saturates first.

python -m lits_tools.benchmark.archive_queue [archive.parquet] --workers 16 --workers 256

Scans are drawn from a measured distribution of seconds and megabytes: the table of lits-archive
report, or figures of `LITS`. Workers take the next scan when they are free, as on Ray, or have
fixed parts, as with --shard; each fetches one scan while it segments another, and all share the
line to the store.
"""

import heapq
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

LITS = (447.6, 74.0, 987.0)
"""Axial slices of the 131 training scans: mean, least and most (Bilic et al., 2023)."""
SECONDS_A_SLICE = 0.025
"""Processor time of one thread, bundled model, 512 x 512, no slice left out; .nii.gz read, mask
written. Measured with lits-infer on case 44."""
MB_A_SLICE = 0.252
"""Of the same scan, compressed."""
_SPREAD = 0.55
"""Standard deviation of the logarithm of the number of slices."""
_START_S = 5.0
"""Until a worker has imported its libraries and opened the model."""


@dataclass(frozen=True)
class Scans:
    """What each scan of an archive takes."""

    seconds: NDArray[np.float64]
    """On one worker, without fetching."""
    megabytes: NDArray[np.float64]


@dataclass(frozen=True)
class Outlook:
    """How a run goes."""

    hours: float
    busy: float
    """Share of the workers' time in which they segment."""
    gbit_s: float
    """Through the line to the store, on average."""


def like_lits(count: int, seconds_a_slice: float, seed: int = 0) -> Scans:
    """Scans with the numbers of slices that LiTS has."""
    mean, least, most = LITS
    chance = np.random.default_rng(seed)
    logs = chance.normal(np.log(mean) - _SPREAD**2 / 2, _SPREAD, count)
    slices = np.clip(np.exp(logs), least, most)
    return Scans(slices * seconds_a_slice, slices * MB_A_SLICE)


def measured(table: Path, count: int, seed: int = 0) -> Scans:
    """Scans drawn from those of a report, with replacement."""
    from pyarrow import compute, parquet

    rows = parquet.read_table(table, columns=["state", "seconds", "scan_mb"])
    rows = rows.filter(compute.equal(rows["state"], "done")).drop_columns(["state"])
    known = np.array([row for row in zip(*rows.to_pydict().values(), strict=True)], np.float64)
    drawn = known[np.random.default_rng(seed).integers(0, len(known), count)]
    return Scans(drawn[:, 0], drawn[:, 1])


def outlook(
    scans: Scans, workers: int, store_gbit_s: float, line_gbit_s: float, *, shards: bool = False
) -> Outlook:
    """Simulate the queue.

    Args:
        scans: in the order of the manifest.
        workers: that run at once.
        store_gbit_s: what the store gives to all workers together.
        line_gbit_s: what it gives to one.
        shards: each worker has a fixed part, chosen at random.
    """
    rate_mb_s = min(line_gbit_s, store_gbit_s / workers) * 125
    takes = np.maximum(scans.seconds, scans.megabytes / rate_mb_s)  # the next one comes meanwhile
    if shards:
        parts = np.random.default_rng(1).integers(0, workers, len(takes))
        end = _START_S + np.bincount(parts, takes, workers).max()
    else:
        free = [_START_S] * workers
        for seconds in takes:
            heapq.heapreplace(free, free[0] + float(seconds))
        end = max(free)
    busy = float(scans.seconds.sum()) / (workers * end)
    return Outlook(end / 3600, busy, float(scans.megabytes.sum()) / end / 125)


@click.command()
@click.argument("table", type=click.Path(exists=True, path_type=Path), required=False)
@click.option("--scans", "count", type=click.IntRange(1), default=100_000, show_default=True)
@click.option("--workers", "-w", type=click.IntRange(1), multiple=True, default=(16, 64, 256, 1024))
@click.option("--seconds-a-slice", default=SECONDS_A_SLICE, show_default=True)
@click.option("--store-gbit", default=25.0, show_default=True, help="To all workers together.")
@click.option("--line-gbit", default=1.0, show_default=True, help="To one worker.")
@click.option("--price", default=0.04, show_default=True, help="Of a worker, an hour.")
def main(
    table: Path | None,
    count: int,
    workers: tuple[int, ...],
    seconds_a_slice: float,
    store_gbit: float,
    line_gbit: float,
    price: float,
) -> None:
    """Print hours, cost and load for numbers of workers, on Ray and in shards."""
    scans = like_lits(count, seconds_a_slice) if table is None else measured(table, count)
    total = scans.megabytes.sum() / 1e6
    click.echo(f"{count:,} scans, {total:,.1f} TB, {scans.seconds.sum() / 3600:,.0f} worker hours")
    click.echo("| workers | hours | hours in shards | busy | Gbit/s | cost |")
    click.echo("|---|---|---|---|---|---|")
    for number in workers:
        ray = outlook(scans, number, store_gbit, line_gbit)
        fixed = outlook(scans, number, store_gbit, line_gbit, shards=True)
        cost = ray.hours * number * price
        figures = f"{ray.hours:.2f} | {fixed.hours:.2f} | {ray.busy:.0%} | {ray.gbit_s:.1f}"
        click.echo(f"| {number} | {figures} | {cost:,.0f} |")


if __name__ == "__main__":
    main()
