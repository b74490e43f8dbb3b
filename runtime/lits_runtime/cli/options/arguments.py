"""What the commands of all packages take: types of paths, names of providers, --force."""

from pathlib import Path
from typing import Any

import click

from lits_runtime.stores.uri import is_uri

EXISTING = click.Path(exists=True, path_type=Path)
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
NEW = click.Path(path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)
NEW_FOLDER = click.Path(file_okay=False, path_type=Path)
"""Whether something may already be at a new path is for the rule of outputs to say."""


class _Place(click.Path):
    """A path, or a URI as it is: a path would join its slashes."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: Any) -> Any:
        """A URI as text, all else as a path."""
        return value if is_uri(value) else super().convert(value, parameter, context)


PLACE = _Place(path_type=Path)
"""Where results go: a path, or the URI of a store."""

PROVIDERS = ("cpu", "cuda", "tensorrt")
"""Those of `session.providers`, which takes longer to import than a command takes to start."""


force_option = click.option("-f", "--force", is_flag=True, help="Overwrite existing files.")
