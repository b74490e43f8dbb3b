"""How far an exported model may be from the network that it came from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """The largest deviations of a file from the network; None sets no limit."""

    probability: float | None
    """Largest |difference| of any voxel's probability."""
    dice: float
    """Smallest Dice between the two label maps, per class, over all slabs."""
    volume_percent: float | None = None
    """Largest |difference| of a class's volume, over all slabs."""


TOLERANCES = {
    "fp32": Tolerance(probability=1e-4, dice=0.9999),
    "fp16-weights": Tolerance(probability=1e-2, dice=0.999),
    "fp16": Tolerance(probability=1e-2, dice=0.999),
    "int8": Tolerance(probability=None, dice=0.98, volume_percent=2.0),
}
