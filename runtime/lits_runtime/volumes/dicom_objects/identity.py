"""What an object takes from its source: patient, study, frame of reference, date; and its UIDs."""

import hashlib
import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, cast

import numpy as np
import pydicom
from highdicom import ContributingEquipment, SpecificCharacterSetValues
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import CTImageStorage
from pydicom.valuerep import DA, TM

from lits_runtime.files.atomic import NewFile
from lits_runtime.volumes.dicom.series import Series
from lits_runtime.volumes.dicom.stored import quiet
from lits_runtime.volumes.dicom_objects.codes import PROCESSING_EQUIPMENT
from lits_runtime.volumes.dicom_objects.facts import MANUFACTURER, Algorithm

logging.getLogger("highdicom").setLevel(logging.CRITICAL)  # it logs names of patients

KINDS = {"SEG": 1, "SR": 2, "SC": 3, "RTSTRUCT": 4}
"""What is written, and the number that it adds to a hundredfold of the source's series number."""
_NAMESPACE = uuid.UUID("5f0c8f4e-63a5-4ad4-9a3a-2a7f5b1c6d10")
_NUMBERS = 2**31 // 100 - 1
_PATIENT_AND_STUDY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Elements that every object has, if only empty."""
_OF_SERIES = ("SeriesNumber", "SeriesDate", "SeriesTime", "SeriesDescription")
_CHARACTERS = {one.value for one in SpecificCharacterSetValues}
_UNICODE = "ISO_IR 192"
_SEXES = ("F", "M", "O")
_DATES = ("Acquisition", "Content", "Series", "Study")
_NO_DATE = "19000101"


def derived_uid(*parts: object) -> str:
    """A UID that follows from its parts: equal parts give equal UIDs.

    >>> derived_uid("a", 1) == derived_uid("a", 1) != derived_uid("a", 2)
    True
    >>> derived_uid("a", 1)[:5]
    '2.25.'
    """
    return f"2.25.{uuid.uuid5(_NAMESPACE, repr(parts)).int}"


@contextmanager
def as_stored() -> Iterator[None]:
    """Values of the source are copied even if they break DICOM's rules, and quoted nowhere."""
    with quiet(), pydicom.config.disable_value_validation():
        yield


@dataclass(frozen=True)
class Moment:
    """Date and time of the source's content: the objects have it as theirs.

    The time at which an object is made would give each run other bytes under the same UID.
    """

    date: str
    time: str


@dataclass(frozen=True)
class Identity:
    """Where an object belongs, and which one it is."""

    series: Series
    """The source, with UIDs derived where it has none."""
    missing: tuple[str, ...]
    """Which UIDs the source lacks, as anonymisation leaves it."""
    header: Dataset
    """Of the first slice; elements that every object has are there, if only empty."""
    moment: Moment
    kind: str
    """One of `KINDS`."""
    series_uid: str
    series_number: int
    algorithm: Algorithm
    _parts: tuple[object, ...]

    @classmethod
    def of(cls, series: Series, kind: str, algorithm: Algorithm, options: object) -> "Identity":
        """The identity of an object of a kind.

        Raises:
            VolumeError: a file of the series has changed.
        """
        header = _header(series)
        missing, series = _with_uids(series, header)
        sources = hashlib.sha256("\n".join(_sources(series)).encode()).hexdigest()
        parts = (kind, sources, algorithm, options)
        number = series.number if 0 < (series.number or 0) <= _NUMBERS else 99
        return cls(
            series=series,
            missing=missing,
            header=header,
            moment=_moment(header),
            kind=kind,
            series_uid=derived_uid("series", *parts),
            series_number=100 * (number or 99) + KINDS[kind],
            algorithm=algorithm,
            _parts=parts,
        )

    def uid(self, *parts: object) -> str:
        """A UID of something in this object or about it."""
        return derived_uid(*self._parts, *parts)

    def arguments(self, description: str) -> dict[str, Any]:
        """What all of highdicom's objects take alike: their series, their maker, their moment.

        Args:
            description: of the series.
        """
        return {
            "series_instance_uid": self.series_uid,
            "series_number": self.series_number,
            "series_description": description,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": self.algorithm.name,
            "software_versions": self.algorithm.version,
            "device_serial_number": self.algorithm.model_sha256[:16],
            "content_date": self.moment.date,
            "content_time": self.moment.time,
        }

    def copy_patient_and_study(self, made: Dataset) -> None:
        """Give a new object the patient and study of the source."""
        made.StudyInstanceUID = self.series.study_uid
        for keyword in (*_PATIENT_AND_STUDY, "SpecificCharacterSet"):
            if keyword in self.header:
                made.add(self.header[keyword])

    def settle(self, made: Dataset) -> None:
        """Take from a new object what the library put there of this moment and this machine."""
        for name in ("InstanceCreationDate", "InstanceCreationTime"):
            made.pop(name, None)
        for name in ("DateOfSecondaryCapture", "TimeOfSecondaryCapture"):
            made.pop(name, None)
        for sequence in made.get("DimensionOrganizationSequence", ()):
            sequence.DimensionOrganizationUID = self.uid("dimensions")
        for index in made.get("DimensionIndexSequence", ()):
            index.DimensionOrganizationUID = self.uid("dimensions")
        for equipment in made.get("ContributingEquipmentSequence", ()):
            equipment.pop("ContributionDateTime", None)

    @property
    def equipment(self) -> ContributingEquipment:
        """Us, as equipment that contributed."""
        return ContributingEquipment(
            manufacturer=MANUFACTURER,
            purpose_of_reference=PROCESSING_EQUIPMENT,
            manufacturer_model_name=self.algorithm.name,
            software_versions=self.algorithm.version,
            contribution_description=f"Liver and lesions, model SHA-256 "
            f"{self.algorithm.model_sha256}",
        )


def _header(series: Series) -> Dataset:
    with as_stored():
        header = series.dataset(series.stored_slices[0])
        for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
            if keyword in header:
                delattr(header, keyword)
        header.decode()
        characters = header.get("SpecificCharacterSet", "")
        if not isinstance(characters, str) or characters not in _CHARACTERS:
            header.SpecificCharacterSet = _UNICODE
        for keyword in _PATIENT_AND_STUDY:
            if header.get(keyword) is None:
                setattr(header, keyword, "")
        if header.PatientSex not in _SEXES:
            header.PatientSex = ""
        for keyword, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
            if not _is_valid(header.get(keyword), kind):
                setattr(header, keyword, "")
        return header


def _with_uids(series: Series, header: Dataset) -> tuple[tuple[str, ...], Series]:
    """Which UIDs a series lacks, and the series with derived ones in their place."""
    known = {
        "study": series.study_uid,
        "series": series.uid,
        "frame of reference": series.frame_of_reference_uid,
        "instance": all(one.sop_instance_uid or one.filled for one in series.slices),
    }
    missing = tuple(name for name, uid in known.items() if not uid)
    if not missing:
        return missing, series
    facts = [str(header.get(keyword, "")) for keyword in (*_PATIENT_AND_STUDY, *_OF_SERIES)]
    slices = tuple(
        replace(
            one,
            sop_class_uid=one.sop_class_uid or CTImageStorage,
            sop_instance_uid=one.sop_instance_uid or derived_uid(*facts, one.position),
        )
        if not one.filled
        else one
        for one in series.slices
    )
    return missing, replace(
        series,
        uid=series.uid or derived_uid("series", *facts, series.geometry.affine.tolist()),
        study_uid=series.study_uid or derived_uid("study", *facts[: len(_PATIENT_AND_STUDY)]),
        frame_of_reference_uid=(series.frame_of_reference_uid or derived_uid("frame", *facts)),
        slices=slices,
    )


def _is_valid(value: object, kind: type) -> bool:
    try:
        kind(value)
    except (ValueError, TypeError):
        return False
    return True


def _moment(header: Dataset) -> Moment:
    for name in _DATES:
        date, time = header.get(f"{name}Date"), header.get(f"{name}Time")
        if date and _is_valid(date, DA):
            known = time and _is_valid(time, TM)
            return Moment(str(date), str(time) if known else "000000")
    return Moment(_NO_DATE, "000000")


def _sources(series: Series) -> Iterator[str]:
    yield series.uid
    for one in series.slices:
        yield f"{one.sop_instance_uid} {one.frame} {one.position}"


def write_object(file: BinaryIO | NewFile, made: Dataset) -> None:
    """Write an object as a DICOM file: the same bytes for the same object.

    Args:
        file: open for writing, as those of `files.atomic.NewFiles` are.
        made: of one of the `make_` functions.

    Raises:
        OSError: the file cannot be written.
    """
    try:
        with as_stored():
            made.save_as(cast(BinaryIO, file), enforce_file_format=True)
    except OSError as error:
        raise _of_the_file(error) from None


def _of_the_file(error: BaseException) -> BaseException:
    """The error that pydicom repeats as text, with a traceback, in another of the same type."""
    while error.__cause__ is not None and getattr(error, "errno", None) is None:
        error = error.__cause__
    return error


def content_digest(labels: NDArray[np.unsignedinteger], *more: object) -> str:
    """SHA-256 of an array's bytes and of the text of more values."""
    digest = hashlib.sha256(np.ascontiguousarray(labels).data)
    digest.update(repr(more).encode())
    return digest.hexdigest()
