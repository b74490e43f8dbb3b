"""Whether values are Hounsfield units of a trunk, judged by their distribution, not their extremes.

On every scanner air is at -1000, fat at -100, soft tissue between 0 and 100, and little but bone is
over 300. The limits below are at least twice as wide as scans with and without contrast, crops
around the liver and phantoms need. Padding around a circular field of view (-2000, -3024, -8192) is
not a value of the patient, and left out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lits_runtime.plausibility.overview import LEAST_VOXELS

_LOWEST_HU = -1300
"""Air is at -1000; the noise of thin slices reaches this far."""
_LUNG_HU, _BODY_HU = -250, -200
_OFFSET = 32768  # the histogram's first bin is -32768


@dataclass(frozen=True)
class Histogram:
    """How often each value occurs, without padding."""

    counts: NDArray[np.int64]
    """Of -32768 to 32767."""
    padding_hu: tuple[int, ...]
    """Up to three values below that of air which fill much of the volume; not in `counts`."""

    @classmethod
    def of(cls, hu: NDArray[np.int16]) -> "Histogram":
        """Count the values of a sample of any shape."""
        counts = np.bincount(hu.ravel().astype(np.intp) + _OFFSET, minlength=2 * _OFFSET)
        below_air = counts[: _LOWEST_HU + _OFFSET]
        often = np.argpartition(below_air, -3)[-3:]
        padding = often[below_air[often] > 0.005 * counts.sum()]
        counts[padding] = 0
        return cls(counts, tuple((padding - _OFFSET).tolist()))

    def count(self, low_hu: int, high_hu: int) -> int:
        """Voxels from `low_hu` up to, but not including, `high_hu`."""
        return int(self.counts[low_hu + _OFFSET : high_hu + _OFFSET].sum())

    @property
    def total(self) -> int:
        """Voxels without padding."""
        return int(self.counts.sum())

    @property
    def highest_hu(self) -> int:
        """The largest value."""
        return int(np.flatnonzero(self.counts)[-1]) - _OFFSET

    def peak_hu(self, low_hu: int, high_hu: int) -> int:
        """The centre of the 41 adjacent values that most voxels of a range have."""
        part = self.counts[low_hu + _OFFSET : high_hu + _OFFSET]
        return low_hu + int(np.convolve(part, np.ones(41), "same").argmax())


def value_warnings(hu: NDArray[np.int16]) -> list[str]:
    """What is odd about the values of an overview: at most one line, of the first failed check."""
    histogram = Histogram.of(hu)
    if histogram.total < LEAST_VOXELS:
        return []
    for check in (_beyond, _cut, _no_air, _tissue, _air, _between, _bone, _fat):
        if warning := check(histogram):
            return [warning]
    return []


def _beyond(histogram: Histogram) -> str | None:
    below = _percent(histogram.count(-_OFFSET, _LOWEST_HU), histogram.total)
    if below <= 4:
        return None
    return (
        f"{below:.0f} % of the voxels are below {_LOWEST_HU} HU, padding not counted: not "
        "Hounsfield units (scaled, or the intercept applied twice?)"
    )


def _no_air(histogram: Histogram) -> str | None:
    dark = _percent(histogram.count(_LOWEST_HU, _LUNG_HU), histogram.total)
    if dark >= 0.5:
        return None
    values = ", ".join(map(str, histogram.padding_hu))
    padding = f" besides padding at {values}" if values else ""
    return (
        f"{dark:.1f} % of the voxels are air or lung (under {_LUNG_HU} HU){padding}: not "
        "Hounsfield units (no intercept, scaled, an MR image?), or a crop inside the body"
    )


def _tissue(histogram: Histogram) -> str | None:
    tissue = _percent(histogram.count(_BODY_HU, 300), histogram.total)
    if tissue >= 2:
        return None
    return (
        f"{tissue:.1f} % of the voxels are fat or soft tissue (-200 to 300 HU): not Hounsfield "
        "units, or hardly a patient in the field of view"
    )


def _air(histogram: Histogram) -> str | None:
    dark = _percent(histogram.count(_LOWEST_HU, _LUNG_HU), histogram.total)
    if dark <= 5:
        return None
    peak = histogram.peak_hu(_LOWEST_HU, _LUNG_HU)
    if peak <= -600:
        return None
    return (
        f"values darker than fat peak at {peak} HU, where CT has neither air (-1000) nor lung "
        "(-850): not Hounsfield units (scaled, inverted, an MR image?)"
    )


def _between(histogram: Histogram) -> str | None:
    between = _percent(histogram.count(-600, -200), histogram.count(_BODY_HU, 300))
    if between <= 40:
        return None
    return (
        f"for every 100 voxels of fat and soft tissue {between:.0f} are between -600 and -200 HU, "
        "where CT has few: not Hounsfield units (an MR image?), or little but lung"
    )


def _bone(histogram: Histogram) -> str | None:
    body = histogram.count(_BODY_HU, _OFFSET)
    bright = _percent(histogram.count(300, _OFFSET), body)
    dense = _percent(histogram.count(500, _OFFSET), body)
    lean = _fat_percent(histogram) < 15
    if not (bright > 18 or dense > 10 or (bright > 7 and lean)):
        return None
    guess = "a head or limbs, or not Hounsfield units"
    if bright > 30:
        guess = "not Hounsfield units (no intercept, scaled, inverted, an MR image?)"
    return f"{bright:.0f} % of the body is over 300 HU (bone), in a trunk under 6 %: {guess}"


def _fat(histogram: Histogram) -> str | None:
    fat = _fat_percent(histogram)
    if fat >= 2:
        return None
    return (
        f"for every 100 voxels of soft tissue {fat:.1f} are fat (-140 to -40 HU): an MR image, or "
        "another part of the body?"
    )


def _cut(histogram: Histogram) -> str | None:
    highest = histogram.highest_hu
    piled = histogram.count(highest, highest + 1)
    usual = histogram.count(highest - 20, highest) / 20
    percent = _percent(piled, histogram.total)
    if highest >= 500 or percent <= 0.2 or piled < 5 * usual:
        return None
    return f"values end at {highest} HU, at {percent:.1f} % of the voxels: clipped to a window"


def _fat_percent(histogram: Histogram) -> float:
    return _percent(histogram.count(-140, -40), histogram.count(0, 100))


def _percent(part: int, whole: int) -> float:
    return 100 * part / max(whole, 1)
