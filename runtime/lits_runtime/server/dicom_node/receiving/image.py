"""One image as it came in: what its header says, read from the file."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lits_runtime.errors import VolumeError
from lits_runtime.volumes.dicom.sorting.values import text
from lits_runtime.volumes.dicom.stored import quiet, read_header, stored_file
from lits_runtime.volumes.dicom_objects.facts import MANUFACTURER

_TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "BodyPartExamined"),
    *("SeriesDescription", "StudyDescription", "ProtocolName", "NumberOfFrames", "Manufacturer"),
    "ContributingEquipmentSequence",
)
_LONGEST = 200
"""Characters that are kept of a description."""


@dataclass(frozen=True)
class Image:
    """What is known of an image."""

    key: str
    """Stands for the Series Instance UID, by which a patient could be found."""
    name: str
    """Stands for the SOP Instance UID: a file name."""
    modality: str
    body_part: str
    description: str
    """Of series, study and protocol, one a line."""
    frames: int
    is_ours: bool
    """Whether we made it, or had a part in it."""


def read_image(path: Path) -> Image:
    """The facts of an image in a file.

    Raises:
        VolumeError: damaged, or without the UIDs of image and series.
        OSError: it cannot be read.
    """
    header = read_header(stored_file(path), _TAGS).dataset
    try:
        with quiet():
            return _image(header)
    except (VolumeError, MemoryError):
        raise
    except Exception as error:  # pydicom converts a value when it is first looked at
        raise VolumeError(f"damaged DICOM ({type(error).__name__})") from error


def _image(header: Any) -> Image:
    series, instance = text(header, "SeriesInstanceUID"), text(header, "SOPInstanceUID")
    if not series or not instance:
        raise VolumeError("no SOP Instance UID or Series Instance UID")
    descriptions = ("SeriesDescription", "StudyDescription", "ProtocolName")
    makers = [header, *(header.get("ContributingEquipmentSequence") or ())]
    frames = header.get("NumberOfFrames")
    return Image(
        key=key_of(series),
        name=key_of(instance),
        modality=text(header, "Modality")[:16],
        body_part=text(header, "BodyPartExamined")[:16],
        description="\n".join(text(header, keyword)[:_LONGEST] for keyword in descriptions),
        frames=max(1, int(frames)) if frames else 1,
        is_ours=any(text(maker, "Manufacturer") == MANUFACTURER for maker in makers),
    )


def key_of(uid: str) -> str:
    """32 hexadecimal digits that stand for a UID."""
    return hashlib.sha256(uid.encode()).hexdigest()[:32]
