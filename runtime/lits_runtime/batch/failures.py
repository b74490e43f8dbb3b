"""Records of jobs that failed: what `lits-archive` counts, and what keeps a deadly scan out."""

import datetime
import json
import logging
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lits_runtime.errors import LitsError, QuarantineError
from lits_runtime.files.atomic import atomic_path
from lits_runtime.files.regular_file import read_bounded
from lits_runtime.messages import brief, printable
from lits_runtime.stores.uri import joined

if TYPE_CHECKING:
    from lits_runtime.batch.job import Job

logger = logging.getLogger(__name__)

FAILURE_VERSION = 1
DEADLY = 2
"""How often a scan may end its worker before it is quarantined."""
_MOST_BYTES = 2**16


@dataclass(frozen=True)
class Failure:
    """Why a job failed, and how often."""

    scan: str
    """As lists of results name it."""
    kind: str
    """The class of the error."""
    error: str
    attempts: int = 1
    deaths: int = 0
    """How often the process that had the job ended without a word."""
    at: str = ""
    """When, in UTC."""
    state: str = "failed"
    """"failed" or "quarantined"."""

    def to_json(self) -> dict[str, Any]:
        """As in the file."""
        return {"failure_version": FAILURE_VERSION, **asdict(self)}


def failure_of(content: bytes) -> Failure | None:
    """The failure in the content of a file; None if it is no sound one."""
    try:
        found = json.loads(content)
        if found.pop("failure_version") != FAILURE_VERSION:
            return None
        failure = Failure(**found)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    numbers = (failure.attempts, failure.deaths)
    texts = (failure.scan, failure.kind, failure.error, failure.at, failure.state)
    sound = all(type(n) is int for n in numbers) and all(isinstance(t, str) for t in texts)
    return failure if sound else None


def read_failure(job: "Job") -> Failure | None:
    """The failure that is recorded of a job, if there is one."""
    if job.failure is None:
        return None
    try:
        if (uri := _uri(job)) is None:
            return failure_of(read_bounded(job.failure, _MOST_BYTES, LitsError))
        from lits_runtime.stores.objects import read

        content = read(uri, _MOST_BYTES)
    except (OSError, LitsError):
        return None
    return None if content is None else failure_of(content)


def check_quarantine(job: "Job") -> None:
    """Refuse a job that ended its worker too often.

    Raises:
        QuarantineError: its record says so.
    """
    failure = read_failure(job)
    if failure is not None and failure.state == "quarantined":
        raise QuarantineError(
            f"{job.name}: quarantined, because it ended its worker {failure.deaths} times; to try "
            f"again, remove {_shown(job)} or use --force"
        )


def record_failure(job: "Job", error: Exception) -> None:
    """Record that a job failed; that a record cannot be written is no error of its own."""
    if job.failure is None or isinstance(error, QuarantineError):
        return
    before = read_failure(job)
    attempts, deaths = (0, 0) if before is None else (before.attempts, before.deaths)
    kind, text = type(error).__name__, brief(error)
    _write(job, Failure(job.shown, kind, text, attempts + 1, deaths, _now()))


def record_death(job: "Job", reason: str) -> Failure:
    """Record that the process with a job ended without a word; the second time quarantines it.

    Returns:
        What is recorded.
    """
    before = read_failure(job)
    attempts, deaths = (0, 0) if before is None else (before.attempts, before.deaths)
    state = "quarantined" if deaths + 1 >= DEADLY else "failed"
    error = f"{job.name}: ended its worker: {reason}"
    failure = Failure(job.shown, "WorkerDied", error, attempts + 1, deaths + 1, _now(), state)
    _write(job, failure)
    return failure


def forget_failure(job: "Job") -> None:
    """Remove the record of a failure, now that the job is done."""
    if job.failure is None:
        return
    with suppress(OSError, LitsError):
        if (uri := _uri(job)) is None:
            job.failure.unlink(missing_ok=True)
        elif read_failure(job) is not None:
            from lits_runtime.stores.objects import remove

            remove(uri)


def _write(job: "Job", failure: Failure) -> None:
    if job.failure is None:
        return
    text = json.dumps(failure.to_json(), indent=1) + "\n"
    try:
        if (uri := _uri(job)) is None:
            with atomic_path(job.failure) as temporary:
                temporary.write_text(text)
            return
        from lits_runtime.stores.objects import write

        write(text.encode(), uri)
    except (OSError, LitsError) as error:  # a full disk, or a store that refuses
        logger.debug("%s: %s", _shown(job), error)


def _uri(job: "Job") -> str | None:
    if job.failure is None or job.remote is None or job.remote.destination is None:
        return None
    return joined(job.remote.destination, job.failure)


def _shown(job: "Job") -> str:
    return printable(_uri(job) or str(job.failure))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
