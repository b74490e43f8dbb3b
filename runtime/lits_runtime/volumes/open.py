"""What a caller may give as a scan: paths, open files, images."""

import io
import os
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

from nibabel.spatialimages import SpatialImage

from lits_runtime.errors import VolumeError
from lits_runtime.messages import printable
from lits_runtime.volumes.library_errors import damage_as_volume_error
from lits_runtime.volumes.memory import FORMS


def name_of(image: SpatialImage) -> str:
    """What a message calls a nibabel image: its file, where it has one."""
    name = image.get_filename()
    return name if isinstance(name, str) and name else "image"


def path_of(source: str | PathLike[str]) -> Path:
    """The path of a file name.

    Raises:
        VolumeError: it is none.
    """
    try:
        path = Path(os.fsdecode(source))
    except TypeError as error:  # a `__fspath__` that gives something else
        raise VolumeError(f"a path of type {type(source).__name__}: {error}") from error
    with damage_as_volume_error(printable(str(path)), "not a path"):
        path.is_file()  # of a name with a NUL in it, an error
    return path


def seekable(source: Any) -> BinaryIO:
    """A binary file object that can seek, or the content of one that cannot.

    Raises:
        VolumeError: the source is none of what `Scan.open` takes.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        raise VolumeError(f"a scan as {type(source).__name__}: {FORMS}; wrap bytes in io.BytesIO")
    if isinstance(source, io.TextIOBase):
        raise VolumeError("a scan from a file opened as text: open it with 'rb'")
    if not (callable(getattr(source, "read", None)) and callable(getattr(source, "seek", None))):
        what = "an array without its affine" if hasattr(source, "__array__") else "a scan"
        raise VolumeError(f"{what}, of type {type(source).__name__}: {FORMS}")
    with damage_as_volume_error("file object", "not readable"):
        content: BinaryIO = source if source.seekable() else io.BytesIO(source.read())
        return content
