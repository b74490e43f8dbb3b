"""How large a CT may be, before anything of it is read."""

import math

from lits_runtime.errors import VolumeError
from lits_runtime.volumes.geometry import Geometry

MAX_VOXELS = 2**31
"""A 1024 x 1024 CT of 2048 slices; a header that asks for more is taken for damaged or hostile."""
MAX_SLICE_VOXELS = 2**22
"""2048 x 2048, the largest matrix of any CT scanner; a few slices at a time are held as float32."""
MAX_SLICES = 4096
"""A whole body in steps of half a millimetre."""
SLICES_PER_PIXEL = 16
"""At most, of the shorter side: 512 slices of 32 x 32. Each slice takes time, however small it is,
and no body is as thin as a thread."""


def check_size(name: str, geometry: Geometry, max_voxels: int) -> None:
    """Refuse a header that asks for more than any CT has.

    Args:
        name: of the scan, for the message.
        geometry: by the header.
        max_voxels: in all; a caller's limit.

    Raises:
        VolumeError: too many voxels, too large a slice, or too many slices.
    """
    if math.prod(geometry.shape) > max_voxels:
        raise VolumeError(
            f"{name}: shape {geometry.shape}, expected 1 to {max_voxels} voxels; the limit is an "
            "option"
        )
    slices, height, width = geometry.canonical_shape
    if height * width > MAX_SLICE_VOXELS:
        raise VolumeError(
            f"{name}: {slices} axial slices of {height} x {width}, expected at most "
            f"{MAX_SLICE_VOXELS} voxels in one"
        )
    if slices > min(MAX_SLICES, SLICES_PER_PIXEL * min(height, width)):
        raise VolumeError(
            f"{name}: {slices} axial slices of {height} x {width} are no CT: expected at most "
            f"{MAX_SLICES}, and {SLICES_PER_PIXEL} for each pixel of the shorter side; are the "
            "axes in the header right?"
        )
