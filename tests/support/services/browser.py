"""A real browser, driven by a script of tests/node."""

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from support.paths import ROOT
from support.services import node_runtime

PATIENCE_S = 400
"""On a machine that is busy with other tests."""


@cache
def missing() -> str | None:
    """Why there is no browser; installs what drives it once."""
    if not shutil.which("chromium"):
        return "chromium is not installed"
    return node_runtime.missing()


def drive(script: str, address: str, folder: Path) -> dict[str, Any]:
    """Run a script of tests/node; what it saw."""
    command = ["node", str(ROOT / "tests/node" / script), shutil.which("chromium") or ""]
    done = subprocess.run(
        [*command, address, str(folder)], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen
