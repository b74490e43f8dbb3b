"""What a server and its worker processes say to each other."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Tensor:
    """An array as it travels: the server needs no NumPy."""

    datatype: str
    """As NumPy names it: "float32" or "uint8"."""
    shape: tuple[int, ...]
    content: bytes
    """Little-endian, the last axis fastest."""


@dataclass(frozen=True)
class Segment:
    """Order: segment a scan into a mask; one at a time."""

    job_id: str
    scan: Path
    mask: Path
    options: dict[str, Any]
    formats: tuple[str, ...] = ()
    """To write beside the mask, of `records.result_files.FORMATS`; of a DICOM series only."""


@dataclass(frozen=True)
class Cancel:
    """Order: stop after the current slab."""


@dataclass(frozen=True)
class Infer:
    """Order: run a slab through the model, beside the scan in hand."""

    slab: Tensor
    outputs: tuple[str, ...]
    """"labels", "probability" or both."""
    number: int = 0


@dataclass(frozen=True)
class Show:
    """Order: make a file for the eye of a finished job, beside the scan in hand."""

    scan: Path
    mask: Path
    mask_kind: str
    shown: Path
    """Ending in .png a picture of the masks, else the scan as NIfTI; one that exists is kept."""
    number: int = 0


@dataclass(frozen=True)
class Ready:
    """The model is open."""

    provider: str


@dataclass(frozen=True)
class NotReady:
    """The model does not open; the worker ends."""

    error: str


@dataclass(frozen=True)
class Progress:
    """Slices of the scan in hand."""

    done: int
    of: int


@dataclass(frozen=True)
class Done:
    """The results are on disk."""

    report: dict[str, Any]


@dataclass(frozen=True)
class Failed:
    """There are no results."""

    error: str
    cancelled: bool = False
    no_room: bool = False
    """The disk is full, which is not the scan's fault."""


@dataclass(frozen=True)
class Answer:
    """To `Infer` the outputs in the order asked for, to `Show` nothing; or an error."""

    number: int
    outputs: tuple[Tensor, ...] = ()
    error: str | None = None
