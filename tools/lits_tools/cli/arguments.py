"""What the commands of the tools share: the check of endings."""

from collections.abc import Sequence
from pathlib import Path

import click


def check_ending(output: Path, endings: Sequence[str]) -> None:
    """Raise a UsageError unless a name has one of the endings."""
    if output.suffix not in endings:
        raise click.UsageError(f"{output}: expected a name ending in {', '.join(endings)}")
