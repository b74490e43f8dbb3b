"""Many scans with one model: jobs, records, and the engines that run them."""

TYPE_CHECKING = False  # lits-infer imports jobs first and the engine only when there is one to run
if TYPE_CHECKING:
    from typing import Any

    from lits_runtime.batch.engine import run_batch, segment_scan
    from lits_runtime.batch.settings import Outcome, Settings

__all__ = ["Outcome", "Settings", "run_batch", "segment_scan"]

_LAZY = {
    "Outcome": "lits_runtime.batch.settings",
    "Settings": "lits_runtime.batch.settings",
    "run_batch": "lits_runtime.batch.engine",
    "segment_scan": "lits_runtime.batch.engine",
}


def __getattr__(name: str) -> "Any":
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
