"""The audit log: one line of JSON for each job that ended."""

import datetime
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lits_runtime.server.queue.job import Job


def append(path: Path, jobs: Sequence[Job]) -> None:
    """Append a line for each job and sync; nothing in it comes from the scan but its size."""
    text = "".join(json.dumps(_line(job)) + "\n" for job in jobs)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _line(job: Job) -> dict[str, Any]:
    report = job.report or {}
    return {
        "job": job.id,
        "state": job.state,
        "client": job.client,
        "accepted": _moment(job.created),
        "started": _moment(job.started),
        "finished": _moment(job.finished),
        "attempts": job.attempts,
        "bytes": job.bytes,
        "options": job.options,
        "model_sha256": report.get("model_sha256"),
        "provider": report.get("provider"),
        "warnings": len(report.get("warnings", ())),
    }


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.isoformat(timespec="milliseconds")
