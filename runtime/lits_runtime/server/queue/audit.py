"""The audit log: one line of JSON for each job that ended, series that came in, and delivery."""

import datetime
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lits_runtime.server.queue.job import Job


def append(path: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Append a line for each entry, and sync."""
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def entry_of(job: Job) -> dict[str, Any]:
    """The entry of a job that ended; nothing in it comes from the scan but its size."""
    report = job.report or {}
    return {
        "job": job.id,
        "state": job.state,
        "client": job.client,
        "accepted": moment(job.created),
        "started": moment(job.started),
        "finished": moment(job.finished),
        "attempts": job.attempts,
        "bytes": job.bytes,
        "options": job.options,
        "model_sha256": report.get("model_sha256"),
        "provider": report.get("provider"),
        "warnings": len(report.get("warnings", ())),
    }


def moment(seconds: float | None) -> str | None:
    """A moment as it is written."""
    if seconds is None:
        return None
    found = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return found.isoformat(timespec="milliseconds")
