"""The scan of a job in a store: an object, or all objects below the prefix of a series."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lits_runtime.errors import VolumeError
from lits_runtime.stores.objects import Stored, fetch, fetch_all, listed, look
from lits_runtime.stores.uri import name_of, shown


@dataclass(frozen=True)
class Source:
    """What a store says of a scan."""

    uri: str
    stored: Stored
    """Of a series: all bytes, and a digest of what is said of its objects."""
    objects: dict[str, Stored] = field(default_factory=dict)
    """Of a series below a prefix."""

    @classmethod
    def look(cls, uri: str, *, is_series: bool) -> "Source":
        """Look for the scan.

        Raises:
            VolumeError: nothing is there.
            StoreError: the store does not answer, or refuses.
        """
        stored = None if uri.endswith("/") else look(uri)
        if stored is not None:
            return cls(uri, stored)
        objects = listed(uri) if is_series else {}
        if not objects:
            raise VolumeError(f"{shown(uri)}: no such object")
        told = "\n".join(f"{name} {one.bytes} {one.tag}" for name, one in objects.items())
        size = sum(one.bytes or 0 for one in objects.values())
        return cls(uri, Stored(size, hashlib.sha256(told.encode()).hexdigest()), objects)

    def is_of(self, record: dict[str, Any]) -> bool:
        """Whether a record was made from what is there; without a tag nobody knows."""
        known = record.get("store")
        known = known.get("scan") if isinstance(known, dict) else None
        return bool(self.stored.tag) and known == self.stored.to_json()

    def fetch(self, folder: Path) -> Path:
        """The scan in a local folder.

        Raises:
            StoreError: it does not arrive, or changes meanwhile.
        """
        if not self.objects:
            path = folder / name_of(self.uri)
            fetch(self.uri, path, self.stored)
            return path
        series = folder / "series"
        paths = [series / f"{number:05}" for number in range(len(self.objects))]
        fetch_all(self.objects, paths, self.uri)
        return series
