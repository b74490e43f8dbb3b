"""Stored numbers of a slice in Hounsfield units."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lits_runtime.volumes.dicom.series import SliceHeader

AIR_HU = -1024
"""The value of what lies outside the scanner's circle, whichever number it was given."""
_TISSUE_HU = (-900, 3071)
"""Padding of a value between these cannot be told from the patient."""
_WIDEST = np.iinfo(np.int16)


def padding_is_applied(header: SliceHeader) -> bool:
    """Whether the padding value of a slice, if there is one, can be told from tissue."""
    if header.layout.padding is None:
        return True
    ends = [value * header.slope + header.intercept for value in header.layout.padding]
    return max(ends) <= _TISSUE_HU[0] or min(ends) >= _TISSUE_HU[1]


def hu_dtype(header: SliceHeader) -> np.dtype[Any]:
    """The narrowest type that holds all values that the slice may have, in HU."""
    if not _is_whole(header):
        return np.dtype(np.float32)
    _, highest = _reach(header)
    return np.dtype(np.int16 if highest <= _WIDEST.max else np.int32)


def to_hu(stored: NDArray[Any], header: SliceHeader, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Stored numbers of a slice, rescaled, with padding and what is below air at `AIR_HU`.

    Args:
        stored: of any integer type.
        header: with slope, intercept and padding.
        dtype: of the result.
    """
    slope, intercept = header.slope, header.intercept
    if not _is_whole(header):
        hu: NDArray[Any] = stored.astype(np.float64) * slope + intercept
    elif _stays_narrow(header):
        hu = np.add(stored, np.int16(intercept), dtype=np.int16, casting="unsafe")
    else:
        hu = stored.astype(np.int64) * int(slope) + int(intercept)
    np.maximum(hu, hu.dtype.type(AIR_HU), out=hu)
    padding = header.layout.padding
    above_air = padding is not None and padding[1] * slope + intercept > AIR_HU
    if padding is not None and above_air and padding_is_applied(header):
        hu[(stored >= padding[0]) & (stored <= padding[1])] = AIR_HU
    if dtype.kind == "i":
        np.minimum(hu, np.iinfo(dtype).max, out=hu)
    return hu.astype(dtype, copy=False)


def _is_whole(header: SliceHeader) -> bool:
    return float(header.slope).is_integer() and float(header.intercept).is_integer()


def _reach(header: SliceHeader) -> tuple[float, float]:
    """The lowest and highest value that the slice may have, in HU."""
    layout = header.layout
    bits = layout.bits_stored - layout.signed
    lowest = -(2**bits) if layout.signed else 0
    return (
        lowest * header.slope + header.intercept,
        (2**bits - 1) * header.slope + header.intercept,
    )


def _stays_narrow(header: SliceHeader) -> bool:
    """Whether neither the stored numbers nor the sums leave int16."""
    layout, (low, high) = header.layout, _reach(header)
    fits = layout.bits_stored - layout.signed <= 15
    return header.slope == 1 and fits and low >= _WIDEST.min and high <= _WIDEST.max
