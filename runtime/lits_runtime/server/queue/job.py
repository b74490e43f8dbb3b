"""One job of the queue, and its states."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN_STATES = (State.QUEUED, State.RUNNING)
"""In which a job has still to be done."""


@dataclass(frozen=True)
class Job:
    """A row of the queue."""

    id: str
    """32 hexadecimal digits that cannot be guessed."""
    number: int
    """The order of acceptance."""
    state: State
    attempts: int
    """How often it was begun."""
    ending: str
    """Of the scan's file, by its content: ".nii", ".nii.gz" or ".zip"; "" for a folder of DICOM."""
    bytes: int
    """Of the scan's files."""
    options: dict[str, Any]
    """Of `segment.options.Options`, and `mask_kind`; those given. Of a series that came by DICOM
    also `notes`, reasons to doubt it."""
    client: str
    """Address of the sender."""
    created: float
    """Seconds since 1970, as the other moments."""
    started: float | None
    finished: float | None
    error: str | None
    report: dict[str, Any] | None

    @property
    def is_dicom(self) -> bool:
        """Whether the scan is a DICOM series, of which SEG and SR are written too."""
        return self.ending in ("", ".zip")

    @property
    def is_open(self) -> bool:
        """Whether it has still to be done."""
        return self.state in OPEN_STATES
