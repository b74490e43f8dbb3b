"""How far an archive is: done, failed, quarantined, left, and how fast it goes."""

import datetime
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lits_tools.archive.found import FoundJob

_RECENT_S = 3600.0
"""The rate is that of the last hour of work."""


@dataclass(frozen=True)
class Status:
    """The counts of an archive."""

    done: int
    failed: int
    quarantined: int
    left: int | None
    """None: no manifest says how many there are."""
    per_hour: float | None
    """Scans done in an hour, over the last one in which any were; None: too few."""
    hours_left: float | None
    last: str | None
    """When the last one was done, in UTC."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def status_of(jobs: Iterable[FoundJob], listed: Sequence[str] | None = None) -> Status:
    """The status by the records of an output folder.

    Args:
        jobs: that were found there.
        listed: the ids of a manifest: only these count.
    """
    wanted = None if listed is None else set(listed)
    states: Counter[str] = Counter()
    times: list[float] = []
    for job in jobs:
        if wanted is not None and job.id not in wanted:
            continue
        states[job.state] += 1
        if job.record is not None and (moment := _time(job.record)) is not None:
            times.append(moment)
    left = None if wanted is None else max(0, len(wanted) - sum(states.values()))
    per_hour = _rate(sorted(times))
    return Status(
        *(states["done"], states["failed"], states["quarantined"], left, per_hour),
        hours_left=None if left is None or per_hour is None else left / per_hour,
        last=_said(max(times)) if times else None,
    )


def _rate(times: Sequence[float]) -> float | None:
    """Scans in an hour, over the last hour of work; the first one only starts the clock."""
    recent = [moment for moment in times if moment >= times[-1] - _RECENT_S]
    if len(recent) < 2 or recent[-1] == recent[0]:
        return None
    return (len(recent) - 1) / (recent[-1] - recent[0]) * 3600


def _time(record: dict[str, Any]) -> float | None:
    try:
        return datetime.datetime.fromisoformat(record["finished"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return None


def _said(moment: float) -> str:
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).isoformat(timespec="seconds")
