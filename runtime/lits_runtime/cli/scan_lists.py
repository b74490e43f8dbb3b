"""The scans that --list names: lines, or the rows of a manifest."""

import io
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lits_runtime.batch.jobs import read_list
from lits_runtime.errors import StoreError
from lits_runtime.stores.uri import is_uri

if TYPE_CHECKING:
    from lits_runtime.batch.lists.row import Row


def scans_of(listed: str) -> "Sequence[Path | str | Row]":
    """The scans of a list: a path, a URI, or "-" for lines on stdin.

    Raises:
        click.BadParameter: there is no such file.
        OptionsError: a manifest with other columns or values.
        StoreError: a store does not answer.
    """
    from lits_runtime.batch.lists.manifest import content_of, is_manifest, read_manifest

    if listed == "-":
        return read_list(_lines(sys.stdin.buffer.read()))
    try:
        if is_manifest(listed):
            return read_manifest(listed)
        if is_uri(listed):
            return read_list(_lines(content_of(listed)))
        with open(listed, "rb") as file:  # perhaps a pipe, as of <(find ...)
            return read_list(_lines(file.read()))
    except StoreError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise click.BadParameter(f"{listed!r}: {reason}", param_hint="'--list'") from error


def _lines(content: bytes) -> Iterable[str]:
    """Lines of a text in which file names that are no UTF-8 are kept."""
    return io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", "surrogateescape")
