"""A row of a manifest."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lits_runtime.stores.uri import is_uri


@dataclass(frozen=True)
class Row:
    """A scan of a manifest."""

    uri: str
    """A path, or the URI of an object or of the prefix of a DICOM series."""
    id: str | None = None
    """What its results are called, below the output folder; None: as the scan."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of this scan: series, fill_missing, formats."""

    @property
    def scan(self) -> Path | str:
        """Where the scan is."""
        return self.uri if is_uri(self.uri) else Path(self.uri)
