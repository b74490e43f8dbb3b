"""Where the voxels of a single NIfTI file begin, even if its header is wrong about it."""

import math
from pathlib import Path
from typing import Any, BinaryIO

from lits_runtime.errors import VolumeError

_EXTENDER = 4


def voxel_bytes(header: Any) -> int:
    """The size of the voxels by nibabel's header."""
    sizes = (*header.get_data_shape(), header.get_data_dtype().itemsize)
    return math.prod(int(size) for size in sizes)


def true_offset(header: Any, source: Path | BinaryIO, name: str) -> int:
    """Where voxels begin if vox_offset is 0 or points into the header.

    Some writers leave it 0, or write the size of the header, 348, and either omit the four bytes
    between header and voxels or do not count them. NIfTI's own library reads the voxels of all of
    them from byte 348; nibabel refuses 348, and takes 0 for the first byte of the file. The size of
    the file decides.

    Raises:
        VolumeError: it fits neither.
    """
    end = int(header.template_dtype.itemsize)
    size, wanted = _inflated_size(source), voxel_bytes(header)
    for place in (end + _EXTENDER, end):
        if size == place + wanted:
            return place
    raise VolumeError(
        f"{name}: not a readable NIfTI volume: voxels from byte {header.get_data_offset()} on by "
        f"its header, but its {size} bytes are neither {end + _EXTENDER} nor {end} more than the "
        f"{wanted} of the voxels"
    )


def _inflated_size(source: Path | BinaryIO) -> int:
    """The size of a file, decompressed by the trailer of its gzip (one member, below 4 GiB)."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            return _inflated_size(file)
    here = source.tell()
    end = source.seek(0, 2)
    source.seek(0)
    if source.read(2) == b"\x1f\x8b":
        source.seek(max(end - 4, 0))
        end = int.from_bytes(source.read(4), "little")
    source.seek(here)
    return end
