"""lits-infer and batches in tests: settings, results, and what is left in folders."""

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from lits_runtime.batch import Settings
from lits_runtime.batch.job import FAILED
from lits_runtime.cli.infer import main
from lits_runtime.files.atomic import LOCK_PREFIX, PARTIAL_PREFIX


def invoke(model: Path, *arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), "-m", str(model), "--provider", "cpu"])


def statuses(result: Result) -> list[str]:
    return [json.loads(line)["status"] for line in result.stdout.splitlines()]


def litter(folder: Path) -> list[Path]:
    """Temporary and lock files."""
    return [
        path for path in folder.rglob("*") if path.name.startswith((PARTIAL_PREFIX, LOCK_PREFIX))
    ]


FOREIGN = b'{"patient": "somebody\'s"}'


def settings(model: Path, **changes: Any) -> Settings:
    return Settings(model, provider="cpu", threads=1, **changes)


def results(folder: Path) -> dict[str, bytes]:
    """Contents but for the records of failures."""
    found = contents(folder)
    return {name: content for name, content in found.items() if not name.endswith(FAILED)}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
