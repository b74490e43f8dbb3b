"""The names of predictions that are compared."""

from collections.abc import Sequence
from pathlib import Path

import click


def prediction_names(paths: Sequence[Path], given: Sequence[str]) -> list[str]:
    """The given names, or those of files and folders, with as many of their folders as it takes.

    >>> prediction_names([Path("runs/a/masks"), Path("runs/b/masks")], [])
    ['a/masks', 'b/masks']

    Raises:
        click.UsageError: there are not as many names as paths, or two are equal.
    """
    names = list(given) or _shortest([path.resolve() for path in paths])
    if len(names) != len(paths):
        raise click.UsageError(
            f"{len(names)} names for {len(paths)} predictions: give --name for each or for none"
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise click.UsageError(f"two predictions are named {twice[0]!r}: give each a --name")
    return names


def _shortest(paths: Sequence[Path]) -> list[str]:
    depth = max(len(path.parts) for path in paths)
    for parts in range(1, depth + 1):
        names = [Path(*path.parts[-parts:]).as_posix() for path in paths]
        if len(set(names)) == len(names):
            break
    return names
