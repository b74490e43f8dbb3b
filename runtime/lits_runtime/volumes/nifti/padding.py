"""Bytes after the voxels of a file: padding, or a sign of another volume's header."""

from typing import BinaryIO

from lits_runtime.errors import VolumeError

_COUNTED = 2**22


def padding_behind(stream: BinaryIO, slice_bytes: int, name: str) -> int:
    """The number of zero bytes after the voxels, less than a slice.

    Tapes, tar and disk images pad to full blocks. If the padding is all zero and shorter than a
    slice, no slice of the scan can hide in it. Anything else means that the file holds more than
    its header says.

    Args:
        stream: at its end, unless something follows the voxels.
        slice_bytes: of one stored slice.
        name: for messages.

    Raises:
        VolumeError: more than padding follows.
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
        f"{name}: holds more than its header says: {count} bytes {more}after the voxels{slices}, "
        f"{'all zero' if zero else 'not all zero'}; the header belongs to another volume, or the "
        "file is damaged"
    )
