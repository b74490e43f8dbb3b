"""DICOM secondary captures: a series of pictures for PACS that show no segmentation."""

from collections.abc import Callable, Iterator

import numpy as np
from highdicom.sc import SCImage
from numpy.typing import NDArray
from pydicom import Dataset

from lits_runtime.volumes.dicom.series import Series
from lits_runtime.volumes.dicom_objects.drawing import WINDOW_HU, Frame, picture
from lits_runtime.volumes.dicom_objects.facts import (
    Algorithm,
    Figures,
    ObjectOptions,
)
from lits_runtime.volumes.dicom_objects.identity import Identity, as_stored, content_digest
from lits_runtime.volumes.dicom_objects.seg import reference_to, source_references

ReadHu = Callable[[int, int], NDArray[np.float32]]
"""Canonical slices from a first to before a last one, (n, height, width), as `Scan.read_slab`."""


def make_sc(
    series: Series,
    labels: NDArray[np.uint8],
    read_hu: ReadHu,
    figures: Figures,
    algorithm: Algorithm,
    options: ObjectOptions,
) -> Iterator[Dataset]:
    """A picture of each axial slice with labels, from feet to head, one after the other.

    If no voxel is labelled there is one picture, of the middle slice.

    Args:
        series: that was segmented.
        labels: (k, j, i): 0 background, 1 liver, 2 lesion.
        read_hu: reads slices of the series.
        figures: that are written into the pictures.
        algorithm: that made the labels.
        options: of the other objects of this run.

    Raises:
        VolumeError: a file of the series has changed.
    """
    identity = Identity.of(series, "SC", algorithm, options)
    series = identity.series
    geometry = series.geometry
    canonical = geometry.to_canonical(labels.T)
    shown = [index for index, plane in enumerate(canonical) if plane.any()]
    _, height, width = canonical.shape
    frame = Frame.of(height, width, *geometry.canonical_spacing_mm[1:])
    digest = content_digest(labels, repr(figures))
    for number, index in enumerate(shown or [len(canonical) // 2], 1):
        lines = [*_lines(figures, algorithm), f"slice {index + 1} of {len(canonical)}"]
        pixels = picture(read_hu(index, index + 1)[0], canonical[index], frame, lines)
        uid = identity.uid(digest, index)
        yield _captured(series, identity, pixels, frame, uid, number, index)


def _lines(figures: Figures, algorithm: Algorithm) -> list[str]:
    volumes_ml, told = figures.volumes_ml, []
    if "liver" in volumes_ml:
        told.append(f"liver {volumes_ml['liver']:.0f} ml")
    if "lesion" in volumes_ml:
        told.append(f"lesions {figures.lesion_count}, {volumes_ml['lesion']:.1f} ml")
    if figures.tumour_burden_percent is not None:
        told.append(f"burden {figures.tumour_burden_percent:.1f} %")
    lines = [f"{algorithm.name} {algorithm.version}, not reviewed", "   ".join(told)]
    if figures.warnings:
        lines.append(f"{len(figures.warnings)} warning(s), see the report")
    return lines


def _captured(
    series: Series,
    identity: Identity,
    pixels: NDArray[np.uint8],
    frame: Frame,
    uid: str,
    number: int,
    index: int,
) -> Dataset:
    header = identity.header
    with as_stored():
        captured = SCImage(
            pixel_array=pixels,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            study_instance_uid=series.study_uid,
            sop_instance_uid=uid,
            instance_number=number,
            patient_id=header.PatientID,
            patient_name=header.PatientName,
            patient_birth_date=header.PatientBirthDate,
            patient_sex=header.PatientSex,
            accession_number=header.AccessionNumber,
            study_id=header.StudyID,
            study_date=header.StudyDate,
            study_time=header.StudyTime,
            referring_physician_name=header.ReferringPhysicianName,
            specific_character_set=header.get("SpecificCharacterSet"),
            pixel_spacing=(frame.pixel_mm, frame.pixel_mm),
            patient_orientation=("L", "P"),
            contributing_equipment=[identity.equipment],
            **identity.arguments("Liver and lesions: pictures"),
        )
        identity.settle(captured)
        captured.BodyPartExamined = "LIVER"
        captured.BurnedInAnnotation = "NO"  # that is, none that names the patient
        captured.ImageComments = f"window {WINDOW_HU[0]:.0f} to {WINDOW_HU[1]:.0f} HU"
        if series.geometry.slices_are_slowest:
            captured.SourceImageSequence = _source(series, index)
        return captured


def _source(series: Series, index: int) -> list[Dataset]:
    """The image behind a picture; all of them if there is none, as it was filled in."""
    k = series.geometry.stored_range(index, index + 1)[2].start
    one = series.slices[k]
    return source_references(series) if one.filled else [reference_to(one)]
