"""DICOM Segmentations: the labels of a series, frame by frame where its slices lie."""

from dataclasses import replace
from typing import Any

import numpy as np
from highdicom import PixelMeasuresSequence
from highdicom.seg import Segmentation
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless

from lits_runtime.errors import VolumeError
from lits_runtime.volumes.dicom.series import Series, SliceHeader
from lits_runtime.volumes.dicom_objects.facts import Algorithm, ObjectOptions
from lits_runtime.volumes.dicom_objects.identity import (
    Identity,
    as_stored,
    content_digest,
)
from lits_runtime.volumes.dicom_objects.segments import describe, make_segments

_SYNTAX = {"binary": ExplicitVRLittleEndian, "labelmap": RLELossless}
_APART_MM = 1e-3


def make_seg(
    series: Series, labels: NDArray[np.uint8], algorithm: Algorithm, options: ObjectOptions
) -> Dataset | None:
    """A Segmentation of a series; None if no voxel is labelled, as it would have no segment.

    Args:
        series: that was segmented.
        labels: (k, j, i): 0 background, 1 liver, 2 lesion.
        algorithm: that made the labels.
        options: type, codes, and whether each lesion is a segment.

    Raises:
        VolumeError: a file of the series has changed.
    """
    identity = Identity.of(series, "SEG", algorithm, options)
    series = identity.series
    segments = make_segments(labels, series.geometry, options, identity.uid("segments"))
    if not segments.listed:
        return None
    with as_stored():
        seg = Segmentation(
            source_images=_planes(series, identity),
            pixel_array=segments.numbers,
            segmentation_type=options.seg_type.upper(),
            segment_descriptions=describe(segments, algorithm, options),
            sop_instance_uid=identity.uid(content_digest(segments.numbers)),
            instance_number=1,
            transfer_syntax_uid=_SYNTAX[options.seg_type],
            pixel_measures=_measures(series),
            omit_empty_frames=_sparse(options),
            content_label="LIVER_LESIONS",
            content_description=_content(segments.empty),
            contributing_equipment=[identity.equipment],
            **identity.arguments("Liver and lesions"),
        )
        identity.settle(seg)
        _point_at_sources(seg, series)
    return seg


def _sparse(options: ObjectOptions) -> bool:
    """Whether frames without voxels are left out.

    Readers take the grid from the frames, so they are kept; but hundreds of lesions with all slices
    each would take gigabytes.
    """
    return options.segment_per_lesion and options.seg_type == "binary"


def _content(empty: tuple[str, ...]) -> str:
    lacking = " and ".join(empty)
    return f"Liver and lesions; no {lacking} found" if empty else "Liver and lesions"


def _measures(series: Series) -> PixelMeasuresSequence:
    columns_mm, rows_mm, slices_mm = series.geometry.spacing_mm
    return PixelMeasuresSequence((rows_mm, columns_mm), slices_mm, series.step_mm)


def _planes(series: Series, identity: Identity) -> list[Dataset]:
    """A source image for each slice, with no more than highdicom reads.

    Whether it is a file, a frame or filled in is settled afterwards, by `_point_at_sources`.
    """
    columns, rows, _ = series.geometry.shape
    planes: list[Dataset] = []
    for index, one in enumerate(series.slices):
        plane = Dataset() if planes else identity.header
        plane.StudyInstanceUID = series.study_uid
        plane.SeriesInstanceUID = series.uid
        plane.SOPClassUID = CTImageStorage
        plane.SOPInstanceUID = f"2.25.{index + 1}"
        plane.FrameOfReferenceUID = series.frame_of_reference_uid
        plane.Modality = "CT"
        plane.Rows, plane.Columns = rows, columns
        plane.ImagePositionPatient = _decimals(one.position)
        plane.ImageOrientationPatient = _decimals(series.orientation)
        plane.PixelSpacing = _decimals(series.geometry.spacing_mm[1::-1])
        plane.SliceThickness = _decimals(series.geometry.spacing_mm[2:])[0]
        planes.append(plane)
    return planes


def _decimals(numbers: tuple[float, ...]) -> list[str]:
    """Numbers as DICOM's decimal strings, of 16 characters at most."""
    from pydicom.valuerep import format_number_as_ds

    return [format_number_as_ds(float(number)) for number in numbers]


def _point_at_sources(seg: Any, series: Series) -> None:
    """Give each frame the file or frame of the series that lies where it lies.

    Raises:
        VolumeError: a frame lies where no slice is: a fault of the library.
    """
    positions = np.array([one.position for one in series.slices])
    for frame in seg.PerFrameFunctionalGroupsSequence:
        place = [float(x) for x in frame.PlanePositionSequence[0].ImagePositionPatient]
        apart_mm = np.abs(positions - place).max(1)
        one = series.slices[int(apart_mm.argmin())]
        if apart_mm.min() > _APART_MM:
            raise VolumeError(
                f"{series.name}: a frame of the SEG is {apart_mm.min():.4g} mm from any slice; "
                "please report it"
            )
        if one.filled:
            frame.DerivationImageSequence = []
            continue
        reference = frame.DerivationImageSequence[0].SourceImageSequence[0]
        reference.ReferencedSOPClassUID = one.sop_class_uid
        reference.ReferencedSOPInstanceUID = one.sop_instance_uid
        if one.frame is not None:
            reference.ReferencedFrameNumber = one.frame + 1
    references = source_references(series)
    seg.SourceImageSequence = references
    seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence = references


def reference_to(one: SliceHeader) -> Dataset:
    """A reference to the object of a slice, and to its frame where the object has several."""
    reference = Dataset()
    reference.ReferencedSOPClassUID = one.sop_class_uid
    reference.ReferencedSOPInstanceUID = one.sop_instance_uid
    if one.frame is not None:
        reference.ReferencedFrameNumber = one.frame + 1
    return reference


def source_references(series: Series) -> list[Dataset]:
    """A reference to each object of the series, once."""
    objects = {one.sop_instance_uid: one for one in series.slices if not one.filled}
    return [reference_to(replace(one, frame=None)) for one in objects.values()]
