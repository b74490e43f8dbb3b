"""Which files the values of a scan come from, so that no output is written over them."""

import os
from collections.abc import Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from lits_runtime.volumes.names import pair_paths


def origins(source: Any) -> tuple[Path, ...]:
    """Absolute paths behind a source of `Scan.open`, both of a pair; empty for values alone.

    An open file tells its name, a nibabel image those of its file map, an array that is mapped
    into memory its own.

    >>> origins("/scans/a.hdr")
    (PosixPath('/scans/a.hdr'), PosixPath('/scans/a.img'))
    """
    return tuple(dict.fromkeys(path.absolute() for path in _paths(source)))


def _paths(source: Any) -> Iterator[Path]:
    if isinstance(source, str | bytes | PathLike):
        yield from pair_paths(Path(os.fsdecode(source)))
    elif isinstance(source, tuple):
        yield from _mapped(source[0] if source else None)
    elif (file_map := getattr(source, "file_map", None)) is not None:  # nibabel's images
        for holder in file_map.values():
            yield from _paths_of_holder(holder)
        yield from _mapped(getattr(source, "dataobj", None))
    elif isinstance(name := getattr(source, "name", None), str):  # open files
        yield Path(name)


def _paths_of_holder(holder: Any) -> Iterator[Path]:
    for name in (getattr(holder, "filename", None), getattr(holder.fileobj, "name", None)):
        if isinstance(name, str | PathLike):
            yield Path(fspath(name))


def _mapped(values: Any) -> Iterator[Path]:
    """The file of a memory-mapped array, or of one that it is a view of."""
    while values is not None:
        if isinstance(name := getattr(values, "filename", None), str | PathLike):
            yield Path(fspath(name))
        values = getattr(values, "base", None)
