"""3D-IRCADb-01 as distributed: a folder for each patient, DICOM slices of CT and of each mask."""

import re
import zipfile
from pathlib import Path, PurePosixPath

from lits_runtime.errors import DatasetError
from lits_runtime.messages import brief
from lits_train.data.imports.found import Found, Pair

_PATIENT = re.compile(r"(?:3D-?ircadb-?\d*[._-])?0*(\d+)", re.IGNORECASE)
_LIVER = re.compile(r"liver", re.IGNORECASE)
_LESION = re.compile(r"liver[-_ ]?tumou?rs?[-_ ]?\d*", re.IGNORECASE)
_MOST_MASK_BYTES = 2**32
"""Of the liver and lesions in an archive; 200 slices of 512 x 512 in 8 bits are 50 MB a mask."""


def patients_in(source: Path) -> list[Path]:
    """The folders of patients, or the folder itself if it is one, in order of their numbers."""
    folders = [source, *(path for path in source.iterdir() if path.is_dir())]
    patients = [path for path in folders if _part(path, "PATIENT_DICOM") is not None]
    return sorted(patients, key=lambda path: (len(path.name), path.name))


def find_ircadb(source: Path) -> Found:
    """The patients of 3D-IRCADb-01, by folders or by the archives that they come in."""
    pairs: list[Pair] = []
    left_out: dict[str, str] = {}
    for folder in patients_in(source):
        match = _PATIENT.fullmatch(folder.name)
        case_id = f"ircadb-{match[1] if match else folder.name}"
        volume, masks = _part(folder, "PATIENT_DICOM"), _part(folder, "MASKS_DICOM")
        if volume is None or masks is None:
            left_out[folder.name] = "no MASKS_DICOM folder or MASKS_DICOM.zip"
            continue
        structures = structures_in(masks)
        if not structures["liver"]:
            left_out[folder.name] = "no mask of the liver in MASKS_DICOM"
            continue
        pairs.append(Pair(case_id, volume, masks, structures))
    return Found("ircadb", pairs, left_out)


def _part(folder: Path, name: str) -> Path | None:
    if (folder / name).is_dir():
        return folder / name
    archive = folder / f"{name}.zip"
    return archive if archive.is_file() else None


def structures_in(masks: Path) -> dict[str, tuple[str, ...]]:
    """The names of the folders with masks of the liver and of its lesions.

    Cysts, vessels and other organs are not among them.
    """
    if masks.is_dir():
        names = {path.name for path in masks.iterdir() if path.is_dir()}
    else:
        names = {path.parent.name for path in _members(masks)}
    return {
        "liver": tuple(sorted(name for name in names if _LIVER.fullmatch(name))),
        "lesion": tuple(sorted(name for name in names if _LESION.fullmatch(name))),
    }


def _members(archive: Path) -> list[PurePosixPath]:
    try:
        with zipfile.ZipFile(archive) as opened:
            return [PurePosixPath(one.filename) for one in opened.infolist() if not one.is_dir()]
    except (zipfile.BadZipFile, OSError) as error:
        raise DatasetError(f"{archive}: not a readable archive: {brief(error)}") from error


def unpack(archive: Path, names: tuple[str, ...], folder: Path) -> None:
    """Write the slices of some masks to folders of their names.

    Raises:
        DatasetError: they are larger than masks are, or the archive is damaged.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            chosen = [
                one
                for one in opened.infolist()
                if not one.is_dir() and PurePosixPath(one.filename).parent.name in names
            ]
            if sum(one.file_size for one in chosen) > _MOST_MASK_BYTES:
                raise DatasetError(f"{archive}: masks of more than {_MOST_MASK_BYTES >> 30} GB")
            for number, one in enumerate(chosen):
                target = folder / PurePosixPath(one.filename).parent.name
                target.mkdir(exist_ok=True)
                (target / f"image_{number}").write_bytes(opened.read(one))
    except (zipfile.BadZipFile, OSError, RuntimeError) as error:
        raise DatasetError(f"{archive}: not a readable archive: {brief(error)}") from error
