"""DICOM RT Structure Sets: outlines of liver and lesions on each slice, for treatment planning."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, RTStructureSetStorage

from lits_runtime.labels import lesion_mask, liver_mask
from lits_runtime.volumes.dicom.series import Series
from lits_runtime.volumes.dicom_objects import codes
from lits_runtime.volumes.dicom_objects.contours import outlines
from lits_runtime.volumes.dicom_objects.facts import MANUFACTURER, Algorithm, ObjectOptions
from lits_runtime.volumes.dicom_objects.identity import Identity, as_stored, content_digest
from lits_runtime.volumes.dicom_objects.seg import reference_to, source_references
from lits_runtime.volumes.dicom_objects.segments import (
    COLOURS_RGB,
    MAX_SEGMENTS_OF_LESIONS,
    NumberedLesions,
    number_lesions,
)

_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
_DECIMALS = 4
"""Of coordinates in mm."""


@dataclass(frozen=True)
class _Region:
    """A region of interest: its name, its kind, and its contours."""

    name: str
    kind: str
    contours: list[Dataset]


def make_rtstruct(
    series: Series, labels: NDArray[np.uint8], algorithm: Algorithm, options: ObjectOptions
) -> Dataset | None:
    """A structure set of a series; None if no voxel is labelled.

    The liver's region includes its lesions. Holes are contours of their own, by the XOR rule.

    Args:
        series: that was segmented.
        labels: (k, j, i): 0 background, 1 liver, 2 lesion.
        algorithm: that made the labels.
        options: codes, and whether each lesion is a region.

    Raises:
        VolumeError: a file of the series has changed.
    """
    identity = Identity.of(series, "RTSTRUCT", algorithm, options)
    series = identity.series
    with as_stored():
        regions = list(_regions(series, labels, options))
        if not regions:
            return None
        made = _document(identity, series, identity.uid(content_digest(labels)))
        made.StructureSetROISequence, made.ROIContourSequence = [], []
        made.RTROIObservationsSequence = []
        for number, region in enumerate(regions, 1):
            made.StructureSetROISequence.append(_named(number, region, series))
            made.ROIContourSequence.append(_drawn(number, region))
            made.RTROIObservationsSequence.append(_observed(number, region, options))
    return made


def _regions(
    series: Series, labels: NDArray[np.uint8], options: ObjectOptions
) -> Iterator[_Region]:
    slices = range(len(labels))
    masks: list[tuple[str, str, dict[int, NDArray[np.bool_]]]] = [
        ("Liver", "liver", {k: liver_mask(labels[k]) for k in slices if labels[k].any()})
    ]
    if not options.segment_per_lesion:
        found = {k: lesion_mask(labels[k]) for k in masks[0][2]}
        masks.append(("Lesions", "lesion", found))
    else:
        lesions = number_lesions(labels, series.geometry)
        shown = min(lesions.count, MAX_SEGMENTS_OF_LESIONS)
        for number in range(1, shown + 1):
            last = number == shown < lesions.count
            name = f"Lesions {number} to {lesions.count}" if last else f"Lesion {number}"
            masks.append((name, "lesion", _lesion(lesions, number, last, labels.shape[1:])))
    for name, kind, by_slice in masks:
        contours = [one for k, mask in by_slice.items() for one in _contours(series, k, mask)]
        if contours:
            yield _Region(name, kind, contours)


def _lesion(
    lesions: NumberedLesions, number: int, and_smaller: bool, shape: tuple[int, ...]
) -> dict[int, NDArray[np.bool_]]:
    """The mask of a lesion, or of it and all smaller ones, by slice."""
    here = lesions.numbers >= number if and_smaller else lesions.numbers == number
    masks = {}
    for offset in np.flatnonzero(here.any((1, 2))).tolist():
        mask = np.zeros(shape, bool)
        mask[lesions.box[1:]] = here[offset]
        masks[lesions.box[0].start + offset] = mask
    return masks


def _contours(series: Series, k: int, mask: NDArray[np.bool_]) -> Iterator[Dataset]:
    if not mask.any():
        return
    one, geometry = series.slices[k], series.geometry
    across, down = np.reshape(series.orientation, (2, 3))
    step_mm = np.stack([across * geometry.spacing_mm[0], down * geometry.spacing_mm[1]])
    for polygon in outlines(mask):
        points_mm = np.round(one.position + polygon @ step_mm, _DECIMALS) + 0.0
        contour = Dataset()
        if not one.filled:
            contour.ContourImageSequence = [reference_to(one)]
        contour.ContourGeometricType = "CLOSED_PLANAR"
        contour.NumberOfContourPoints = len(polygon)
        contour.ContourData = [f"{value:.{_DECIMALS}f}" for value in points_mm.ravel().tolist()]
        yield contour


def _document(identity: Identity, series: Series, uid: str) -> FileDataset:
    """Everything but the regions."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = UID(uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    identity.copy_patient_and_study(made)
    made.SOPClassUID, made.SOPInstanceUID = RTStructureSetStorage, UID(uid)
    made.Modality, made.OperatorsName = "RTSTRUCT", ""
    made.SeriesInstanceUID, made.SeriesNumber = identity.series_uid, identity.series_number
    made.SeriesDescription, made.InstanceNumber = "Liver and lesions", 1
    made.Manufacturer, made.ManufacturerModelName = MANUFACTURER, identity.algorithm.name
    made.SoftwareVersions = identity.algorithm.version
    made.DeviceSerialNumber = identity.algorithm.model_sha256[:16]
    made.ContributingEquipmentSequence = [identity.equipment]
    made.FrameOfReferenceUID = series.frame_of_reference_uid
    made.PositionReferenceIndicator = identity.header.get("PositionReferenceIndicator", "")
    made.StructureSetLabel, made.ApprovalStatus = "LIVER_LESIONS", "UNAPPROVED"
    made.StructureSetDate, made.StructureSetTime = identity.moment.date, identity.moment.time
    source, study, frame = Dataset(), Dataset(), Dataset()
    source.SeriesInstanceUID = series.uid
    source.ContourImageSequence = source_references(series)
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = _STUDY_CLASS, series.study_uid
    study.RTReferencedSeriesSequence = [source]
    frame.FrameOfReferenceUID = series.frame_of_reference_uid
    frame.RTReferencedStudySequence = [study]
    made.ReferencedFrameOfReferenceSequence = [frame]
    return made


def _named(number: int, region: _Region, series: Series) -> Dataset:
    named = Dataset()
    named.ROINumber, named.ROIName = number, region.name
    named.ReferencedFrameOfReferenceUID = series.frame_of_reference_uid
    named.ROIGenerationAlgorithm = "AUTOMATIC"
    return named


def _drawn(number: int, region: _Region) -> Dataset:
    drawn = Dataset()
    drawn.ROIDisplayColor, drawn.ReferencedROINumber = list(COLOURS_RGB[region.kind]), number
    drawn.ContourSequence = region.contours
    return drawn


def _observed(number: int, region: _Region, options: ObjectOptions) -> Dataset:
    observed = Dataset()
    observed.ObservationNumber = observed.ReferencedROINumber = number
    observed.RTROIInterpretedType = "ORGAN" if region.kind == "liver" else ""
    observed.ROIInterpreter = ""
    lesion = region.kind == "lesion"
    observed.RTROIIdentificationCodeSequence = [
        codes.LESIONS[options.lesion_code] if lesion else codes.LIVER
    ]
    return observed
