"""What an import found: pairs to take, and what is left out and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """A volume and its mask or masks."""

    case_id: str
    volume: Path
    """A NIfTI file, or a folder or archive of DICOM slices."""
    mask: Path
    """A label map in NIfTI, or a folder or archive with a folder of DICOM slices a structure."""
    structures: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """"liver" and "lesion": the names of such folders; empty for a label map."""


@dataclass(frozen=True)
class Found:
    """The content of a data set."""

    layout: str
    pairs: list[Pair]
    left_out: dict[str, str]
    """By file or case, why."""
    values: Mapping[int, int] = field(default_factory=dict)
    """Of the masks: value in the file to label, where they differ."""
    liver_only: bool = False
    """Whether lesions are not marked in any of them."""
    splits: Path | None = None
    """nnU-Net's splits_final.json."""
