"""The figures of a comparison, as tables and JSON, and what in them is out of tolerance."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lits_export.parity.tolerance import Tolerance

LEAST_VOXELS = 100
"""Of a class in the network's masks: the Dice of fewer says little, and of none nothing."""
_COLUMNS = ("engine", "class", "largest", "99.9 %", "Dice", "changed (near threshold)", "volume")


@dataclass(frozen=True)
class ClassParity:
    """Figures of one class over all slabs of anatomy."""

    largest_difference: float
    """Of |probability difference|."""
    percentile_999: float
    """99.9th percentile of |probability difference|, from a histogram: at most 1 % too high."""
    dice: float
    """Between the two masks; 1 where both are empty."""
    changed_voxels: int
    changed_near_threshold: int
    """Of those, voxels whose probability is within the largest difference of the threshold."""
    voxels: int
    """Of the network's mask."""
    volume_ml: float
    """Of the network's mask."""
    volume_difference_ml: float
    """Model minus network."""

    def broken(self, tolerance: Tolerance) -> list[str]:
        """What is out of tolerance; NaN always is."""
        found = [_difference(self.largest_difference, tolerance)]
        volume = tolerance.volume_percent
        if not self.dice >= tolerance.dice:
            found.append(f"Dice {self.dice:.6f} (at least {tolerance.dice:g})")
        allowed_ml = np.inf if volume is None else volume / 100 * self.volume_ml
        if not abs(self.volume_difference_ml) <= allowed_ml:
            found.append(
                f"volume {self.volume_difference_ml:+.3f} of {self.volume_ml:.3f} ml "
                f"(at most {volume:g} %)"
            )
        return [reason for reason in found if reason]

    def cells(self) -> list[str]:
        """The figures, for a table."""
        return [
            f"{self.largest_difference:.2e}",
            f"{self.percentile_999:.2e}",
            f"{self.dice:.6f}" if self.voxels else "none found",
            f"{self.changed_voxels} ({self.changed_near_threshold}) of {self.voxels}",
            f"{self.volume_difference_ml:+.3f} of {self.volume_ml:.3f} ml",
        ]


@dataclass(frozen=True)
class BoundaryParity:
    """The slabs that no scanner makes, such as a constant or a single voxel."""

    slabs: int
    largest_difference: float
    """Of |probability difference|, of any class; infinite where a value is not finite."""
    worst_slab: str

    def broken(self, tolerance: Tolerance) -> list[str]:
        """What is out of tolerance. Masks are not compared: they hold no anatomy."""
        found = _difference(self.largest_difference, tolerance)
        return [f"{found} in {self.worst_slab}"] if found else []


@dataclass(frozen=True)
class ParityReport:
    """Figures of one engine, and what they were measured on."""

    provider: str
    """The engine: a provider of ONNX Runtime, or another name."""
    version: str
    """Of the engine, such as "onnxruntime 1.24.1"."""
    classes: dict[str, ClassParity]
    boundary: BoundaryParity
    slabs: int
    """Of anatomy."""
    slices: int
    worst_slab: str
    """Of all, where the largest difference was found."""
    worst_slice: int
    """Its slice within the slab."""

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values, for the model's metadata."""
        return asdict(self)

    def broken(self, tolerance: Tolerance) -> str:
        """What is out of tolerance, as text; empty if nothing is."""
        found = {name: figures.broken(tolerance) for name, figures in self.classes.items()}
        found["boundary"] = self.boundary.broken(tolerance)
        return "; ".join(
            f"{name} on {self.provider}: {', '.join(reasons)}"
            for name, reasons in found.items()
            if reasons
        )

    def missing(self, tolerance: Tolerance) -> str:
        """The classes that hardly occur although their Dice is to be held; empty if none is."""
        if tolerance.dice <= 0:
            return ""
        few = {name: of for name, of in self.classes.items() if of.voxels < LEAST_VOXELS}
        return ", ".join(f"{of.voxels} voxels of {name}" for name, of in few.items())


def table(reports: Sequence[ParityReport]) -> str:
    """The figures of all engines as lines of text."""
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for report in reports:
        name = f"{report.provider} ({report.version})" if report.version else report.provider
        for of_class, figures in report.classes.items():
            rows.append((name, of_class, *figures.cells()))
            name = ""
        largest, slab = report.boundary.largest_difference, report.boundary.worst_slab
        rows.append(("", "boundary", f"{largest:.2e}", "", "", f"in {slab}", ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    first = reports[0]
    lines.append(
        f"{first.slices} slices of anatomy in {first.slabs} slabs, {first.boundary.slabs} boundary "
        f"slabs; worst: slice {first.worst_slice} of {first.worst_slab}"
    )
    return "\n".join(lines)


def _difference(largest: float, tolerance: Tolerance) -> str:
    """Why the largest difference of probabilities is too large; empty if it is not."""
    most = tolerance.probability
    if not np.isfinite(largest):
        return "values that are not finite"
    if most is not None and not largest <= most:
        return f"largest difference {largest:.2e} (at most {most:g})"
    return ""
