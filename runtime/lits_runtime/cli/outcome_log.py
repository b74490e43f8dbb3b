"""What a batch logs: a line for each scan, its warnings, and a summary."""

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from lits_runtime.messages import printable

if TYPE_CHECKING:
    from lits_runtime.batch import Outcome

logger = logging.getLogger(__name__)


def log_outcome(outcome: "Outcome", of: int) -> None:
    """Log the outcome of one of so many jobs; of a single one the caller raises the error."""
    scan, mask = outcome.job.name, printable(outcome.job.target)
    record = outcome.record
    if record is None:
        if outcome.status == "failed" and of > 1:
            message = " ".join(str(outcome.error).split())
            logger.error("error: %s", message if scan in message else f"{scan}: {message}")
        return
    for warning in record["warnings"]:
        logger.warning("warning: %s: %s", scan, printable(warning))
    if lacking := _lacking(outcome):
        logger.warning("warning: %s: nothing is labelled, so there is no %s", scan, lacking)
    if outcome.status == "skipped":
        logger.info("%s: done before; %s", mask, _figures(record))
        return
    logger.info("%s: %s (%s)", mask, _figures(record), printable(record["provider"]))
    axis = next(axis for axis, code in enumerate(record["axis_codes"]) if code in "SI")
    if (looked_at := record["slices_looked_at"]) < (slices := record["shape"][axis]):
        logger.debug("%s: the model saw %d of %d slices", scan, looked_at, slices)
    if reason := record["whole_because"]:
        logger.debug("%s: not streamed: %s", scan, printable(reason))


class Tally:
    """How many jobs ended how; of 100,000 outcomes nothing else is kept."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first_error: Exception | None = None

    def add(self, outcome: "Outcome") -> None:
        """Count an outcome."""
        self.counts[outcome.status] += 1
        self.first_error = self.first_error or outcome.error


def log_summary(tally: Tally, of: int, *, interrupted: bool) -> None:
    """Log how many of so many jobs were done, skipped, failed, and left."""
    done, skipped, failed = (tally.counts[status] for status in ("done", "skipped", "failed"))
    summary = f"{done} done, {skipped} done before, {failed} failed"
    if left := of - done - skipped - failed:
        summary += f", {left} left"
    logger.log(logging.ERROR if interrupted else logging.INFO, "%s", summary)


def _lacking(outcome: "Outcome") -> str:
    """Which objects of a series have nothing to show and were not written."""
    record = outcome.record or {}
    formats = record["settings"].get("formats", ())
    if any(record["volumes_ml"].values()):
        return ""
    names = {"seg": "SEG", "rtstruct": "RT structure set"}
    return " and ".join(names[one] for one in formats if one in names)


def _figures(record: dict[str, Any]) -> str:
    figures = [f"{printable(name)} {ml:.1f} ml" for name, ml in record["volumes_ml"].items()]
    if (burden := record["tumour_burden_percent"]) is not None:
        figures.append(f"burden {burden:.1f} %")
    figures.append(f"{record['lesion_count']} lesions")
    if sides := record["liver_cut"]:
        figures.append(f"the liver is cut by the field of view: {printable(', '.join(sides))}")
    return ", ".join(figures)
