"""Bytes behind the voxels of a file: padding, or the sign of another volume's header."""

from typing import BinaryIO

from lits_runtime.errors import VolumeError

_COUNTED = 2**22


def padding_behind(stream: BinaryIO, slice_bytes: int, name: str) -> int:
    """How many zero bytes follow the voxels, fewer than a slice.

    Tapes, tar and disk images pad to full blocks. As long as that is less than a slice and all
    zero, no slice of the scan can hide there; whatever else follows means that the header says less
    than the file holds.

    Args:
        stream: at its end, if all is well.
        slice_bytes: of one stored slice.
        name: for messages.

    Raises:
        VolumeError: more follows than padding.
    """
    rest = stream.read(1)
    if not rest:
        return 0
    count, zero = 1, not any(rest)
    while count < _COUNTED and (piece := stream.read(2**16)):
        count, zero = count + len(piece), zero and not any(piece)
    if zero and count < slice_bytes:
        return count
    more = "or more " if count >= _COUNTED else ""
    slices = f", {count / slice_bytes:.4g} slices" if count >= slice_bytes else ""
    raise VolumeError(
        f"{name}: holds more than its header says: {count} bytes {more}behind the voxels{slices}, "
        f"{'all zero' if zero else 'not all zero'}; the header is of another volume, or the file "
        "is damaged"
    )
