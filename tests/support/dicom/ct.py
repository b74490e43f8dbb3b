"""CT series as pydicom data sets, from an array and an affine, to be spoilt and written."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

AFFINE = np.array([[-0.75, 0, 0, 131.25], [0, -0.75, 0, 97.5], [0, 0, 2.5, -310.5], [0, 0, 0, 1.0]])
"""Axial, head first supine: columns to the left, rows to posterior, slices to the head."""
PATIENT_NAME = "Doe^Jane"


def body_hu(shape: tuple[int, int, int] = (40, 32, 24), seed: int = 0) -> NDArray[np.int16]:
    """HU (i, j, k) of air around an ellipse of noisy tissue, no slice like another."""
    i, j, k = np.indices(shape)
    x, y = i / shape[0] - 0.5, j / shape[1] - 0.45
    noise = np.random.default_rng(seed).integers(-40, 160, shape)
    inside = x**2 + y**2 < 0.16
    hu = np.where(inside, noise + 3 * k, -1000 + noise // 40)
    hu[shape[0] // 2, shape[1] // 2] = 1500
    return hu.astype(np.int16)


def uid(*parts: object) -> str:
    """A UID that is the same in every run."""
    return generate_uid(entropy_srcs=["lits-toolkit reading", *map(str, parts)])


def slices_of(
    hu: NDArray[Any], affine: NDArray[np.float64] = AFFINE, name: str = "a"
) -> list[Dataset]:
    """One data set for each slice k of HU (i, j, k), unsigned with an intercept of -1024."""
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    return [_slice(hu[:, :, k].T, lps, k, name) for k in range(hu.shape[2])]


def _slice(hu: NDArray[Any], lps: NDArray[np.float64], k: int, name: str) -> Dataset:
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    one = Dataset()
    one.PatientName, one.PatientID, one.PatientBirthDate = PATIENT_NAME, "P-4711", "19600102"
    one.StudyDate, one.StudyTime, one.AccessionNumber = "20240305", "101112", "A77"
    one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, uid(name, k)
    one.StudyInstanceUID, one.SeriesInstanceUID = uid("study"), uid(name)
    one.FrameOfReferenceUID, one.Modality = uid("frame"), "CT"
    one.SeriesNumber, one.InstanceNumber, one.AcquisitionNumber = 3, k + 1, 1
    one.AcquisitionTime = one.ContentTime = "101500"
    one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    one.ImagePositionPatient = [f"{x:.6f}"[:16] for x in (lps @ [0, 0, k, 1])[:3]]
    directions = (*(lps[:3, 0] / spacing[0]), *(lps[:3, 1] / spacing[1]))
    one.ImageOrientationPatient = [f"{x:.12f}"[:16] for x in directions]
    one.PixelSpacing, one.SliceThickness = [f"{spacing[1]:.8f}", f"{spacing[0]:.8f}"], "3"
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.Rows, one.Columns = hu.shape
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
    one.RescaleSlope, one.RescaleIntercept, one.RescaleType = 1, -1024, "HU"
    set_pixels(one, hu.astype(np.int32) + 1024, "<u2")
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return one


def set_pixels(one: Dataset, stored: NDArray[Any], dtype: str) -> None:
    """Replace the pixels of a data set."""
    one.add_new("PixelData", "OW", stored.astype(dtype).tobytes())


def save(slices: Iterable[Dataset], folder: Path, start: int = 0) -> list[Path]:
    """Write data sets under names without endings, in an order that says nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, one in enumerate(slices, start):
        paths.append(folder / f"{number * 7919 % 10007:05d}")
        one.save_as(paths[-1], enforce_file_format=True)
    return paths


def set_all(slices: Sequence[Dataset], **values: Any) -> None:
    """Set elements of all data sets; None removes one."""
    for one in slices:
        for keyword, value in values.items():
            if value is None:
                del one[keyword]
            else:
                setattr(one, keyword, value)
