"""CT series written to folders: plain, of any orientation, tilted."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

PATIENT = {
    "PatientName": "Doe^Jane",
    "PatientID": "P-4711",
    "PatientBirthDate": "19600102",
    "PatientSex": "F",
}
STUDY = {
    "StudyDate": "20240305",
    "StudyTime": "101112",
    "StudyID": "7",
    "AccessionNumber": "A77",
    "ReferringPhysicianName": "Who^Doctor",
}
PLANES = {
    "axial": "LPS",
    "head to feet": "LPI",
    "feet first prone": "RAI",
    "coronal": "LIP",
    "sagittal": "PIL",
}
"""Where columns, rows and slices go: five orientations in which scanners and PACS store CT."""


def uid(*parts: object) -> str:
    """A UID that is the same in every run."""
    return generate_uid(entropy_srcs=["lits-toolkit tests", *map(str, parts)])


def write_series(
    folder: Path, hu: NDArray[Any], affine: NDArray[np.float64], name: str = "a", **tags: Any
) -> list[Path]:
    """One file for each slice, in shuffled order of names.

    Args:
        folder: made if it is missing.
        hu: (i, j, k).
        affine: (4, 4) voxel-to-world, mm, RAS+.
        name: of the series: other names give other UIDs.
        tags: to change or add; None removes one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    rows, columns = lps[:3, 0] / spacing[0], lps[:3, 1] / spacing[1]
    paths = []
    for k in range(hu.shape[2]):
        one = Dataset()
        one.update({**PATIENT, **STUDY})
        one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, uid(name, k)
        one.StudyInstanceUID, one.SeriesInstanceUID = uid("study"), uid(name)
        one.FrameOfReferenceUID, one.PositionReferenceIndicator = uid("frame"), ""
        one.Modality, one.Manufacturer, one.ManufacturerModelName = "CT", "Maker", "Scanner 1"
        one.SeriesNumber, one.InstanceNumber, one.AcquisitionNumber = 3, k + 1, 1
        one.SeriesDate = one.AcquisitionDate = one.ContentDate = "20240305"
        one.SeriesTime = one.AcquisitionTime = one.ContentTime = "101500"
        one.SeriesDescription, one.BodyPartExamined = "Abdomen pv", "ABDOMEN"
        one.PatientPosition, one.KVP, one.ConvolutionKernel = "HFS", "120", "B30f"
        one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        one.ImagePositionPatient = [f"{x:.6f}" for x in (lps @ [0, 0, k, 1])[:3]]
        one.ImageOrientationPatient = [f"{x:.10f}" for x in (*rows, *columns)]
        one.PixelSpacing = [f"{spacing[1]:.8f}", f"{spacing[0]:.8f}"]
        one.SliceThickness = f"{spacing[2]:.6f}"
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.Rows, one.Columns = hu.shape[1], hu.shape[0]
        one.BitsAllocated, one.BitsStored, one.HighBit = 16, 16, 15
        one.PixelRepresentation, one.RescaleSlope, one.RescaleIntercept = 0, 1, -1024
        one.RescaleType, one.WindowCenter, one.WindowWidth = "HU", 70, 340
        stored = np.clip(hu[:, :, k].T.astype(np.int32) + 1024, 0, 65535).astype("<u2")
        one.add_new("PixelData", "OW", stored.tobytes())
        for keyword, value in tags.items():
            if value is None:
                del one[keyword]
            else:
                setattr(one, keyword, value)
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        paths.append(folder / f"{k * 7919 % 10007:05d}")
        one.save_as(paths[-1], enforce_file_format=True)
    return paths
