"""A DICOM series once its headers are read and in order, and the headers of its slices."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lits_runtime.messages import hashed_uid
from lits_runtime.volumes.dicom.stored import Stored
from lits_runtime.volumes.geometry import Geometry

if TYPE_CHECKING:
    from pydicom import Dataset

Position = tuple[float, float, float]


@dataclass(frozen=True)
class PixelLayout:
    """How the pixels of a slice are stored."""

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    transfer_syntax_uid: str
    padding: tuple[int, int] | None = None
    """Lowest and highest stored value that stands for no measurement."""


@dataclass(frozen=True)
class SliceHeader:
    """One axial slice: an object of its own, or a frame of a multi-frame object."""

    stored: Stored
    sop_class_uid: str
    sop_instance_uid: str
    """Empty for a slice that was filled in."""
    position: Position
    """Image Position (Patient): the centre of the first pixel, mm, LPS+."""
    layout: PixelLayout
    slope: float = 1.0
    intercept: float = 0.0
    frame: int | None = None
    """Of a multi-frame object, from 0 on."""
    instance_number: int | None = None
    pixels_at: tuple[int, int] | None = None
    """Where uncompressed pixels lie in the object: the first byte, and how many."""
    filled: bool = False
    """Whether the slice is missing and was interpolated between its neighbours."""

    @property
    def path(self) -> Path:
        """The file, or the archive, that it lies in."""
        return self.stored.path


@dataclass(frozen=True)
class Acquisition:
    """What the headers say of how a series was made, for choosing one."""

    image_type: tuple[str, ...] = ()
    kernel: str = ""
    contrast_agent: str = ""
    body_part: str = ""
    thickness_mm: float | None = None
    time: str = ""
    """HHMMSS of the acquisition, as far as stored."""
    texts: tuple[str, ...] = ()
    """Descriptions and protocol, which may name the phase; they may also name the patient."""


@dataclass(frozen=True)
class Series:
    """CT slices of one grid, sorted along their normal."""

    uid: str
    study_uid: str
    frame_of_reference_uid: str
    number: int | None
    """Series Number."""
    description: str
    """Series Description; free text, so never for logs."""
    slices: tuple[SliceHeader, ...]
    """Index k of the grid; see `stored_slices`."""
    orientation: tuple[float, ...]
    """Image Orientation (Patient): directions of rows and columns, six cosines, LPS+."""
    geometry: Geometry
    """(i, j, k) is (column, row, slice); RAS+."""
    notes: tuple[str, ...] = ()
    """What is odd about it, one line each, without anything that names a patient."""
    acquisition: Acquisition = field(default_factory=Acquisition)
    part: tuple[int, int] = (1, 1)
    """Which volume of how many, where a series holds several, as two phases."""

    @property
    def name(self) -> str:
        """For messages and file names: number and hashed UID, so that nothing names a patient.

        >>> from lits_runtime.messages import hashed_uid
        >>> hashed_uid("1.2.840.113619.2.55")
        '124a9180'
        """
        number = "series" if self.number is None else f"series-{self.number}"
        part = f"-{self.part[0]}of{self.part[1]}" if self.part[1] > 1 else ""
        return f"{number}-{self.key}{part}"

    @property
    def key(self) -> str:
        """The hash of its UID or, where anonymisation removed it, of what else is its own."""
        facts = (self.study_uid, self.frame_of_reference_uid, self.acquisition)
        grid = (self.geometry.shape, self.geometry.affine.tolist())
        return hashed_uid(self.uid or repr((*facts, *grid)))

    @property
    def stored_slices(self) -> tuple[int, ...]:
        """The indices of slices that exist; the others were filled in."""
        return tuple(k for k, one in enumerate(self.slices) if not one.filled)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files or archives behind it, each once."""
        return tuple(dict.fromkeys(one.path for one in self.slices))

    @property
    def objects(self) -> tuple[Stored, ...]:
        """The objects behind it, in the order of their first slices."""
        return tuple(dict.fromkeys(one.stored for one in self.slices if not one.filled))

    @property
    def step_mm(self) -> float:
        """Between neighbouring slices, along their normal: less than the voxel's side if tilted."""
        return abs(float(self.geometry.voxel_ml)) * 1000 / math.prod(self.geometry.spacing_mm[:2])

    def dataset(self, index: int) -> "Dataset":
        """The whole header of a slice, read again, without pixels.

        Raises:
            VolumeError: the file has changed, or the slice was filled in.
        """
        from lits_runtime.volumes.dicom.stored import read_whole_header

        return read_whole_header(self.slices[index].stored)
