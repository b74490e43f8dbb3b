"""Where the voxels of a single NIfTI file begin, also where its header has it wrong."""

import math
from pathlib import Path
from typing import Any, BinaryIO

from lits_runtime.errors import VolumeError

_EXTENDER = 4


def voxel_bytes(header: Any) -> int:
    """Bytes that a nibabel header asks for."""
    sizes = (*header.get_data_shape(), header.get_data_dtype().itemsize)
    return math.prod(int(size) for size in sizes)


def true_offset(header: Any, source: Path | BinaryIO, name: str) -> int:
    """Where voxels begin if vox_offset is 0 or points into the header.

    There are writers that leave it 0, or that write the size of the header, 348, and either forget
    the four bytes between header and voxels or do not count them. NIfTI's own library reads all of
    them from byte 348 on, nibabel refuses 348 and takes 0 for the first byte. The file's size
    tells.

    Raises:
        VolumeError: it does not.
    """
    end = int(header.template_dtype.itemsize)
    size, wanted = _inflated_size(source), voxel_bytes(header)
    for place in (end + _EXTENDER, end):
        if size == place + wanted:
            return place
    raise VolumeError(
        f"{name}: not a readable NIfTI volume: voxels from byte {header.get_data_offset()} on, in "
        f"the header, and its {size} bytes are neither {end + _EXTENDER} nor {end} more than the "
        f"{wanted} of the voxels"
    )


def _inflated_size(source: Path | BinaryIO) -> int:
    """Bytes of a file, or of what its gzip holds by the trailer (of one member, below 4 GiB)."""
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
