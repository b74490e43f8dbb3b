"""What the objects say besides the labels: algorithm, options, figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lits_runtime.errors import OptionsError

SEG_TYPES = ("binary", "labelmap")
LESION_CODES = ("lesion", "neoplasm")
MANUFACTURER = "lits-toolkit"


@dataclass(frozen=True)
class Algorithm:
    """What made the labels."""

    name: str
    """Of the model, for example "lits-toolkit default"."""
    version: str
    """Of lits-toolkit."""
    model_sha256: str
    """Of the model file."""


@dataclass(frozen=True)
class ObjectOptions:
    """How the objects are written.

    Raises:
        OptionsError: a value that there is not.
    """

    seg_type: str = "binary"
    """"binary" is read everywhere; "labelmap", run-length encoded, is smaller and newer."""
    lesion_code: str = "lesion"
    """"lesion" claims no more than the model knows; "neoplasm" is what TotalSegmentator writes."""
    segment_per_lesion: bool = False
    """One segment for each lesion, largest first, instead of one for all."""

    def __post_init__(self) -> None:
        for name, value, known in (
            ("seg_type", self.seg_type, SEG_TYPES),
            ("lesion_code", self.lesion_code, LESION_CODES),
        ):
            if value not in known:
                raise OptionsError(
                    f"{name} {value!r} of a DICOM object: expected {' or '.join(known)}"
                )


class LesionFigures(Protocol):
    """One lesion, as `measure.lesions.Lesion` has it."""

    @property
    def volume_ml(self) -> float:
        """Of its voxels."""

    @property
    def longest_axial_diameter_mm(self) -> float:
        """Between the outer corners of its voxels."""

    @property
    def mean_hu(self) -> float:
        """Over its voxels."""

    @property
    def mean_probability(self) -> float | None:
        """None where probabilities were not computed."""


class Figures(Protocol):
    """What was measured in a scan, as `measure.report.Report` has it."""

    @property
    def volumes_ml(self) -> Mapping[str, float]:
        """By class of the model; the liver includes its lesions."""

    @property
    def tumour_burden_percent(self) -> float | None:
        """Lesion volume over liver volume."""

    @property
    def lesions(self) -> Sequence[LesionFigures]:
        """Largest first."""

    @property
    def lesion_count(self) -> int:
        """Of all, listed or not."""

    @property
    def warnings(self) -> Sequence[str]:
        """Reasons to doubt the figures."""
