"""Which layout a data set has, and what is in it."""

from pathlib import Path

from lits_runtime.errors import DatasetError
from lits_train.data.imports.found import Found
from lits_train.data.imports.image_folders import DESCRIPTION, find_image_folders
from lits_train.data.imports.ircadb import find_ircadb, patients_in

LAYOUTS = ("auto", "msd", "nnunet", "ircadb")


def find_layout(source: Path, layout: str = "auto") -> Found:
    """The content of a data set of MSD, nnU-Net or 3D-IRCADb-01.

    Args:
        source: the folder with dataset.json, or that of the patients.
        layout: one of `LAYOUTS`.

    Raises:
        DatasetError: it has none of these layouts, or holds no case.
    """
    layout = _layout_of(source) if layout == "auto" else layout
    found = find_ircadb(source) if layout == "ircadb" else find_image_folders(source, layout)
    if not found.pairs:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(found.left_out.items())[:3])
        raise DatasetError(f"{source}: no pair of image and mask ({layout}); {reasons or 'empty'}")
    return found


def _layout_of(source: Path) -> str:
    if (source / DESCRIPTION).is_file():
        images = source / "imagesTr"
        channels = images.is_dir() and any(images.glob("*_0000.nii*"))
        return "nnunet" if channels else "msd"
    if patients_in(source):
        return "ircadb"
    raise DatasetError(
        f"{source}: expected {DESCRIPTION} with imagesTr and labelsTr (MSD, nnU-Net), or folders "
        "with PATIENT_DICOM and MASKS_DICOM (3D-IRCADb-01); name another folder, or --layout"
    )
