"""Names of scans whose reading ends the process, as a crash in a library does."""

import os
from pathlib import Path
from typing import Any


class DeadlyPath(type(Path())):  # type: ignore[misc]
    """Ends the process that it is sent to."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (139,)
