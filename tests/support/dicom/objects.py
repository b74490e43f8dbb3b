"""DICOM objects beside plain CT slices: enhanced multi-frame CT, a DICOMDIR, reports and others."""

import copy
import shutil
from collections.abc import Sequence
from pathlib import Path

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.fileset import FileSet
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian

from support.dicom.ct import save, uid

OTHER_CLASSES = {
    "dose report": "1.2.840.10008.5.1.4.1.1.88.67",
    "report": "1.2.840.10008.5.1.4.1.1.88.33",
    "presentation state": "1.2.840.10008.5.1.4.1.1.11.1",
    "segmentation": "1.2.840.10008.5.1.4.1.1.66.4",
    "mr": "1.2.840.10008.5.1.4.1.1.4",
    "structures": "1.2.840.10008.5.1.4.1.1.481.3",
}


def multi_frame(slices: Sequence[Dataset], reverse: bool = True) -> Dataset:
    """An enhanced CT of the slices, its frames from head to feet, all in functional groups."""
    frames = list(reversed(slices)) if reverse else list(slices)
    one = copy.deepcopy(frames[0])
    for keyword in (
        *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
        *("RescaleSlope", "RescaleIntercept", "RescaleType", "AcquisitionNumber"),
    ):
        del one[keyword]
    one.SOPClassUID, one.SOPInstanceUID = EnhancedCTImageStorage, uid("multi-frame")
    one.NumberOfFrames = len(frames)
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = frames[0].PixelSpacing, 3
    orientation.ImageOrientationPatient = frames[0].ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    one.SharedFunctionalGroupsSequence = [shared]
    one.PerFrameFunctionalGroupsSequence = [_groups(frame) for frame in frames]
    one.add_new("PixelData", "OW", b"".join(frame.PixelData for frame in frames))
    return one


def _groups(frame: Dataset) -> Dataset:
    groups, position, values, content = Dataset(), Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = frame.ImagePositionPatient
    values.RescaleSlope, values.RescaleIntercept = frame.RescaleSlope, frame.RescaleIntercept
    values.RescaleType = "HU"
    content.FrameAcquisitionNumber = 1
    groups.PlanePositionSequence = [position]
    groups.PixelValueTransformationSequence = [values]
    groups.FrameContentSequence = [content]
    return groups


def litter(folder: Path) -> None:
    """What lies beside a series: objects of other kinds, a picture, text, hidden files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, sop_class in OTHER_CLASSES.items():
        one = Dataset()
        one.SOPClassUID, one.SOPInstanceUID, one.Modality = sop_class, uid(name), "DOC"
        one.StudyInstanceUID, one.SeriesInstanceUID = uid("study"), uid("series", name)
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.save_as(folder / name, enforce_file_format=True)
    (folder / "thumbnail.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(400))
    (folder / "README").write_text("Viewer: run START.EXE\n")
    (folder / "empty").touch()
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")


def with_directory(slices: Sequence[Dataset], folder: Path) -> None:
    """Slices on a medium: a DICOMDIR, and files in folders that it names."""
    files, made = folder.with_name(f"{folder.name} files"), FileSet()
    for one in slices:
        one.StudyDate, one.StudyTime, one.StudyID = "20240305", "101112", "7"
    for path in save(slices, files):
        made.add(path)
    made.write(folder)
    made._stage["t"].cleanup()
    shutil.rmtree(files)
