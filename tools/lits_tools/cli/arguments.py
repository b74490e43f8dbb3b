"""What the commands of the tools share: types of arguments, --force, and the check of endings."""

from collections.abc import Sequence
from pathlib import Path

import click

EXISTING = click.Path(exists=True, path_type=Path)
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)

force_option = click.option("-f", "--force", is_flag=True, help="Overwrite existing files.")


def check_ending(output: Path, endings: Sequence[str]) -> None:
    """Raise a UsageError unless a name has one of the endings."""
    if output.suffix not in endings:
        raise click.UsageError(f"{output}: expected a name ending in {', '.join(endings)}")
