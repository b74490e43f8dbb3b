"""CT images from the header of one object: one slice, or the frames of a multi-frame object."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lits_runtime.volumes.dicom.series import Acquisition, PixelLayout, Position, SliceHeader
from lits_runtime.volumes.dicom.sorting.values import (
    BadElement,
    item,
    number,
    numbers,
    text,
    texts,
    whole,
)
from lits_runtime.volumes.dicom.stored import Header, Stored

CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "enhanced CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "legacy converted enhanced CT",
}
_OTHER_CLASSES = {
    "1.2.840.10008.1.3.10": "a DICOMDIR, whose files are found without it",
    "1.2.840.10008.5.1.4.1.1.4": "an MR image, not CT",
    "1.2.840.10008.5.1.4.1.1.7": "a secondary capture, not CT as it was reconstructed",
    "1.2.840.10008.5.1.4.1.1.128": "a PET image, not CT",
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation (SEG), not CT",
    "1.2.840.10008.5.1.4.1.1.66.7": "a segmentation (label map), not CT",
    "1.2.840.10008.5.1.4.1.1.481.3": "an RT structure set, not CT",
    "1.2.840.10008.5.1.4.1.1.104.1": "an encapsulated PDF",
}
_FAMILIES = (
    ("1.2.840.10008.5.1.4.1.1.88", "a structured report or a dose report"),
    ("1.2.840.10008.5.1.4.1.1.11", "a presentation state"),
    ("1.2.840.10008.5.1.4.1.1.481", "a radiotherapy object, not CT"),
)
_MOST_FRAMES = 2**14
_HU_TYPES = ("", "HU", "US", "HU_MOD")
TAGS = (
    *("ImageType", "SOPClassUID", "SOPInstanceUID", "AcquisitionTime", "ContentTime", "Modality"),
    *("AcquisitionDateTime", "SeriesDescription", "ProtocolName", "BodyPartExamined"),
    *("ContrastBolusAgent", "SliceThickness", "KVP", "ConvolutionKernel", "AcquisitionNumber"),
    *("InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID"),
    *("TemporalPositionIdentifier", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber"),
    *("SamplesPerPixel", "NumberOfFrames", "Rows", "Columns", "PixelSpacing", "BitsAllocated"),
    *("BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "RescaleType"),
    *("PixelPaddingRangeLimit", "RescaleIntercept", "RescaleSlope", "ModalityLUTSequence"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)


@dataclass(frozen=True)
class Image:
    """One CT slice before it has found its place."""

    header: SliceHeader
    series_uid: str
    study_uid: str
    frame_of_reference_uid: str
    number: int | None
    description: str
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    """Between rows, and between columns."""
    acquisition: Acquisition
    phase: tuple[tuple[str, str], ...]
    """Elements that tell the phases of one series from each other."""

    @property
    def position(self) -> Position:
        """Of its first pixel."""
        return self.header.position


def no_ct(dataset: Any, sop_class: str) -> str | None:
    """Why an object of a SOP class is no CT image; None if it is one."""
    modality = text(dataset, "Modality")
    if sop_class in CT_CLASSES or (not sop_class and modality == "CT"):
        return None
    if known := _OTHER_CLASSES.get(sop_class):
        return known
    for begin, what in _FAMILIES:
        if sop_class.startswith(f"{begin}."):
            return what
    kind = modality if modality.isalnum() and len(modality) < 8 else "of an unknown kind"
    return f"a DICOM object ({kind}), not a CT image"


def images_of(header: Header, stored: Stored) -> Iterator[Image]:
    """The images of a CT object.

    Raises:
        BadElement: an element that is needed is missing or wrong.
    """
    dataset = header.dataset
    layout = _layout(dataset, header.transfer_syntax_uid)
    if header.pixels_at is None:
        raise BadElement("no pixels")
    frames = int(number(dataset, "NumberOfFrames") or 1)
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    if per_frame is None:
        if frames != 1:
            raise BadElement(f"{frames} frames without functional groups")
        yield _image(header, stored, layout, (dataset,), None)
        return
    if not 1 <= frames <= _MOST_FRAMES or len(per_frame) != frames:
        raise BadElement(f"NumberOfFrames is {frames}, and {len(per_frame)} frames are described")
    shared = item(dataset, "SharedFunctionalGroupsSequence")
    for frame, groups in enumerate(per_frame):
        yield _image(header, stored, layout, (groups, shared, dataset), frame)


def _layout(dataset: Any, syntax: str) -> PixelLayout:
    samples = number(dataset, "SamplesPerPixel")
    if samples not in (None, 1):
        raise BadElement("colour pixels, not CT")
    allocated = whole(dataset, "BitsAllocated", 8, 32)
    stored = whole(dataset, "BitsStored", 1, allocated)
    high = number(dataset, "HighBit")
    signed = whole(dataset, "PixelRepresentation", 0, 1) == 1
    if allocated not in (8, 16, 32):
        raise BadElement(f"BitsAllocated is {allocated}, expected 8, 16 or 32")
    return PixelLayout(
        rows=whole(dataset, "Rows", 1, 2**15),
        columns=whole(dataset, "Columns", 1, 2**15),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=stored - 1 if high is None else whole(dataset, "HighBit", stored - 1, allocated),
        signed=signed,
        transfer_syntax_uid=syntax,
        padding=_padding(dataset, allocated, signed),
    )


def _padding(dataset: Any, bits: int, signed: bool) -> tuple[int, int] | None:
    try:
        value = number(dataset, "PixelPaddingValue")
        limit = number(dataset, "PixelPaddingRangeLimit")
    except (TypeError, ValueError):
        return None
    if value is None:
        return None
    ends = []
    for one in (value, value if limit is None else limit):
        stored = int(one) % 2**bits  # written as unsigned for signed pixels, and the reverse
        ends.append(stored - 2**bits if signed and stored >= 2 ** (bits - 1) else stored)
    return min(ends), max(ends)


def _image(
    header: Header, stored: Stored, layout: PixelLayout, places: tuple[Any, ...], frame: int | None
) -> Image:
    dataset = header.dataset
    found = _Groups(places)
    position = numbers(found("PlanePositionSequence"), "ImagePositionPatient", 3)
    orientation = numbers(found("PlaneOrientationSequence"), "ImageOrientationPatient", 6)
    spacing = numbers(found("PixelMeasuresSequence"), "PixelSpacing", 2)
    if position is None or orientation is None:
        raise BadElement("no position or orientation in the patient")
    if spacing is None or min(spacing) <= 0:
        raise BadElement("no PixelSpacing")
    slope, intercept = _rescale(found("PixelValueTransformationSequence"), frame is not None)
    return Image(
        header=SliceHeader(
            stored=stored,
            sop_class_uid=text(dataset, "SOPClassUID"),
            sop_instance_uid=text(dataset, "SOPInstanceUID"),
            position=(position[0], position[1], position[2]),
            layout=layout,
            slope=slope,
            intercept=intercept,
            frame=frame,
            instance_number=_optional_whole(dataset, "InstanceNumber"),
            pixels_at=_place(header, layout, frame or 0),
        ),
        series_uid=text(dataset, "SeriesInstanceUID"),
        study_uid=text(dataset, "StudyInstanceUID"),
        frame_of_reference_uid=text(dataset, "FrameOfReferenceUID"),
        number=_optional_whole(dataset, "SeriesNumber"),
        description=text(dataset, "SeriesDescription"),
        orientation=orientation,
        spacing_mm=spacing,
        acquisition=_acquisition(dataset, found),
        phase=_phase(dataset, found),
    )


class _Groups:
    """Functional groups: those of the frame, then those shared, then the object itself."""

    def __init__(self, places: tuple[Any, ...]) -> None:
        self._places = places

    def __call__(self, keyword: str) -> Any:
        *groups, dataset = self._places
        for group in groups:
            if group is not None and (found := item(group, keyword)) is not None:
                return found
        return dataset


def _rescale(values: Any, in_groups: bool) -> tuple[float, float]:
    if item(values, "ModalityLUTSequence") is not None:
        raise BadElement("a modality LUT in place of slope and intercept")
    kind = text(values, "RescaleType")
    if kind not in _HU_TYPES:
        raise BadElement(f"values of the type {kind[:16]!r}, not HU")
    slope, intercept = number(values, "RescaleSlope"), number(values, "RescaleIntercept")
    if slope is None or intercept is None:
        raise BadElement("no RescaleSlope or RescaleIntercept, so that HU are unknown")
    if slope <= 0 or max(abs(slope), abs(intercept)) > 2**20:
        raise BadElement(f"RescaleSlope {slope:g} and RescaleIntercept {intercept:g}")
    return slope, intercept


def _optional_whole(dataset: Any, keyword: str) -> int | None:
    try:
        found = number(dataset, keyword)
    except (TypeError, ValueError):
        return None
    return None if found is None else int(found)


def _place(header: Header, layout: PixelLayout, frame: int) -> tuple[int, int] | None:
    if header.pixels_at is None:
        return None
    begin, count = header.pixels_at
    if count < 0:
        return begin, count
    size = layout.rows * layout.columns * layout.bits_allocated // 8
    if size * (frame + 1) > count:
        raise BadElement(f"{count} bytes of pixels, expected {size * (frame + 1)}")
    return begin + frame * size, size


def _acquisition(dataset: Any, found: _Groups) -> Acquisition:
    frame_type = texts(found("CTImageFrameTypeSequence"), "FrameType")
    measures, kernel = found("PixelMeasuresSequence"), found("CTReconstructionSequence")
    agent = item(dataset, "ContrastBolusAgentSequence")
    time = text(dataset, "AcquisitionTime") or text(dataset, "AcquisitionDateTime")[8:]
    return Acquisition(
        image_type=frame_type or texts(dataset, "ImageType"),
        kernel="/".join(texts(kernel, "ConvolutionKernel")),
        contrast_agent=text(dataset, "ContrastBolusAgent") or text(agent or {}, "CodeMeaning"),
        body_part=text(dataset, "BodyPartExamined"),
        thickness_mm=_optional_number(measures, "SliceThickness"),
        time=(time or text(dataset, "ContentTime"))[:6],
        texts=(text(dataset, "SeriesDescription"), text(dataset, "ProtocolName")),
    )


def _optional_number(dataset: Any, keyword: str) -> float | None:
    try:
        return number(dataset, keyword)
    except (TypeError, ValueError):
        return None


def _phase(dataset: Any, found: _Groups) -> tuple[tuple[str, str], ...]:
    content, kernel = found("FrameContentSequence"), found("CTReconstructionSequence")
    parts = {
        "TemporalPositionIdentifier": text(dataset, "TemporalPositionIdentifier")
        or text(content, "TemporalPositionIndex"),
        "AcquisitionNumber": text(dataset, "AcquisitionNumber")
        or text(content, "FrameAcquisitionNumber"),
        "AcquisitionTime": text(dataset, "AcquisitionTime")
        or text(content, "FrameAcquisitionDateTime")
        or text(dataset, "AcquisitionDateTime"),
        "ContrastBolusAgent": text(dataset, "ContrastBolusAgent"),
        "ImageType": "/".join(texts(dataset, "ImageType")),
        "ConvolutionKernel": "/".join(texts(kernel, "ConvolutionKernel")),
        "KVP": text(dataset, "KVP"),
    }
    return tuple(parts.items())
