"""What an archive will take, from a sample of it that is segmented here."""

import math
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lits_runtime.batch import Settings, run_batch
from lits_runtime.batch.job import Job
from lits_runtime.errors import DatasetError

_SEED = 0


@dataclass(frozen=True)
class Estimate:
    """Time, bytes and cost of all scans on so many workers like this machine."""

    scans: int
    sampled: int
    failed: int
    """Of the sample."""
    seconds_a_scan: float
    """Mean; fetching included, but for what the next scan's fetching hides."""
    spread: float
    """Standard error of the mean over the mean."""
    workers: int
    hours: float
    """Without what starting, queues and stragglers add."""
    read_gb: float
    written_gb: float
    cost: float | None
    """In the unit of the price."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def estimate(
    jobs: Sequence[Job],
    settings: Settings,
    sample: int,
    workers: int = 1,
    price_an_hour: float | None = None,
) -> Estimate:
    """Segment a random sample into a temporary folder, and scale up.

    Args:
        jobs: of the archive.
        settings: as the run will have.
        sample: how many scans to take.
        workers: how many will run.
        price_an_hour: of one worker.

    Raises:
        DatasetError: none of the sample can be segmented.
        LitsError: the model or the provider does not load.
    """
    chosen = random.Random(_SEED).sample(list(jobs), min(sample, len(jobs)))
    seconds, read, written = [], [], []
    with tempfile.TemporaryDirectory(prefix="lits-plan-") as folder:
        here = [_here(job, Path(folder, str(number))) for number, job in enumerate(chosen)]
        began = time.perf_counter()
        for outcome in run_batch(here, settings):
            now = time.perf_counter()
            if outcome.record is not None:
                seconds.append(now - began)
                read.append(outcome.record["scan"]["bytes"] or 0)
                written.append(sum(one["bytes"] for one in outcome.record["files"].values()))
            began = now
    if not seconds:
        raise DatasetError(f"none of {len(chosen)} sampled scans can be segmented; see lits-infer")
    mean = statistics.fmean(seconds[1:] or seconds)  # the first one waits for the model
    error = statistics.stdev(seconds[1:]) / math.sqrt(len(seconds) - 1) if len(seconds) > 2 else 0.0
    hours = len(jobs) * mean / workers / 3600
    return Estimate(
        *(len(jobs), len(chosen), len(chosen) - len(seconds), mean, error / mean, workers, hours),
        read_gb=len(jobs) * statistics.fmean(read) / 1e9,
        written_gb=len(jobs) * statistics.fmean(written) / 1e9,
        cost=None if price_an_hour is None else hours * workers * price_an_hour,
    )


def _here(job: Job, folder: Path) -> Job:
    """The job with its results in a local folder, leaving no trace elsewhere."""
    remote = None if job.remote is None else replace(job.remote, destination=None)
    return replace(job, mask=folder / job.mask.name, probability=None, failure=None, remote=remote)
