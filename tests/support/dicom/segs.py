"""Segmentations of labelled series, written by us and read by others."""

import json
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
from numpy.typing import NDArray

from lits_runtime.volumes.dicom_objects.facts import ObjectOptions
from lits_runtime.volumes.dicom_objects.identity import write_object
from lits_runtime.volumes.dicom_objects.read_seg import on_grid
from lits_runtime.volumes.dicom_objects.seg import make_seg
from lits_runtime.volumes.geometry import Geometry
from support.dicom.labelled_series import ALGORITHM, Labelled
from support.dicom.programs import run, segments_by_dcmqi
from support.files.scans import save


def write_seg(case: Labelled, path: Path) -> Path:
    """The SEG of a series and its labels."""
    made = make_seg(case.series, case.labels, ALGORITHM, ObjectOptions())
    return written(made, path)


def written(made: pydicom.Dataset | None, path: Path) -> Path:
    """An object in a file."""
    assert made is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_object(file, made)
    return path


def by_pydicom(path: Path, target: Geometry) -> NDArray[np.uint8]:
    """Labels (i, j, k) on a grid, from nothing but pixels, positions and segment numbers."""
    seg: Any = pydicom.dcmread(path)
    labels = np.zeros(target.shape, np.uint8)
    to_voxel = np.linalg.inv(target.affine) @ np.diag([-1.0, -1, 1, 1])
    shared = seg.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    row_mm, column_mm = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    for frame, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        rows, columns = np.nonzero(pixels)
        places = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        places = places + np.outer(columns * column_mm, cosines[:3])
        places += np.outer(rows * row_mm, cosines[3:])
        voxels = places @ to_voxel[:3, :3].T + to_voxel[:3, 3]
        assert not len(voxels) or np.abs(voxels - np.rint(voxels)).max() < 0.01
        number = pixels[rows, columns]
        if "SegmentIdentificationSequence" in frame:
            number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        labels[tuple(np.rint(voxels).astype(int).T)] = number
    return labels


def seg_by_dcmqi(case: Labelled, scratch: Path) -> Path:
    """A SEG of the liver, lesions included, that dcmqi makes of a NIfTI mask."""
    liver = {
        "labelID": 1,
        "SegmentLabel": "Liver",
        "SegmentDescription": "Liver",
        "SegmentAlgorithmType": "MANUAL",
        "SegmentedPropertyCategoryCodeSequence": coded("123037004", "Anatomical Structure"),
        "SegmentedPropertyTypeCodeSequence": coded("10200004", "Liver"),
    }
    metadata = {
        "ContentCreatorName": "Reader",
        "ContentLabel": "LIVER",
        "ContentDescription": "Liver",
        "SeriesDescription": "Liver",
        "SeriesNumber": "300",
        "InstanceNumber": "1",
        "segmentAttributes": [[liver]],
    }
    (scratch / "liver.json").write_text(json.dumps(metadata))
    mask = (case.reference > 0).astype(np.uint8)
    image = save(scratch / "liver.nii.gz", mask, case.geometry.affine)
    files = ("--inputImageList", image, "--inputMetadata", scratch / "liver.json")
    sources = ("--inputDICOMDirectory", case.folder)
    run("itkimage2segimage", *files, *sources, "--outputDICOM", scratch / "liver.dcm")
    return scratch / "liver.dcm"


def coded(value: str, meaning: str) -> dict[str, str]:
    """A SNOMED code in the form of dcmqi."""
    return {"CodeValue": value, "CodingSchemeDesignator": "SCT", "CodeMeaning": meaning}


def by_highdicom(path: Path, target: Geometry) -> NDArray[np.uint8]:
    """Labels (i, j, k) on a grid, from highdicom's volume."""
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    grid = Geometry(volume.array.shape, np.diag([-1.0, -1, 1, 1]) @ volume.affine)
    return on_grid(volume.array.astype(np.uint8), grid, target, "highdicom")


def by_dcmqi(path: Path, folder: Path, target: Geometry) -> NDArray[np.uint8]:
    """Labels (i, j, k) on a grid, from the volumes of segimage2itkimage."""
    found = np.zeros(target.shape, np.uint8)
    for values, grid in segments_by_dcmqi(path, folder):
        found += on_grid(values.astype(np.uint8), grid, target, "dcmqi")
    return found
