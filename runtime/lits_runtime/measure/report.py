"""The report of one segmentation: warnings first, then volumes and lesions."""

from dataclasses import asdict, dataclass
from typing import Any

from lits_runtime.measure.lesions import Lesion


@dataclass(frozen=True)
class Report:
    """What is known of one scan and of its labels."""

    warnings: tuple[str, ...]
    """Reasons to doubt the figures below."""
    volumes_ml: dict[str, float]
    """By class of the model; the liver includes its lesions."""
    tumour_burden_percent: float | None
    """Lesion volume over liver volume; None without a liver."""
    liver_cut: tuple[str, ...]
    """Sides of the field of view that the liver reaches: its volume is then a lower bound."""
    lesions: tuple[Lesion, ...]
    """Largest first, at most `lesions.MAX_LESIONS`."""
    lesion_count: int
    shape: tuple[int, int, int]
    """(i, j, k) of scan and mask."""
    spacing_mm: tuple[float, float, float]
    axis_codes: str
    """Where the stored axes point."""
    slices_looked_at: int
    """By the model; fewer than there are where a search found no liver."""
    applied: dict[str, Any]
    """Options, completed by the model: thresholds, post-processing, distance of the search."""
    whole_because: str | None
    """Why the whole volume was needed, in memory or on disk; None if it streamed."""
    provider: str
    model_sha256: str
    scan_sha256: str | None
    """Of the scan's file; None if it came from memory."""
    seconds: float
    scan_bytes: int | None = None
    """Of the scan's file, both of a pair."""

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values, warnings first."""
        return asdict(self)
