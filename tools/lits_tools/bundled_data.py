"""The data that the bundled model is trained on, prepared from the public scans and phantoms."""

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from lits_runtime.errors import DatasetError
from lits_runtime.phantom import make_phantom, write_phantom
from lits_train.cases import CASES_NAME, find_cases
from lits_train.pipeline import label_shares, resize, resize_labels
from lits_train.prepare import prepare
from lits_train.prepared import open_cases
from lits_train.prepared_index import write_case
from lits_train.recipe import LESION_UNKNOWN

logger = logging.getLogger(__name__)

SCANS = ("lits/44", "liver_only/28", "liver_only/1003")
"""CT with masks, as folder/ID."""
LIVER_ONLY = ("28",)
"""Their lesions lie unmarked in the liver. 1003 is a healthy donor: truly without lesions."""
PHANTOMS = range(100, 116)
SLICES_FOLDER = "msd_slices"
"""Separate axial slices of MSD Task03 patients: HU clipped to 0..255, lesions within the liver."""
SAME_PATIENT = {"44": "msd-10067", "28": "msd-10049"}
"""Patients who are in two of the sources under different names."""
SLICE_SPACING_MM = (2.5, 1.5, 1.5)
"""Usual for these; the true spacing is lost."""
_SURELY_LIVER_HU = 15.0
"""Parenchyma this close to the liver's median is no lesion; of the rest nobody knows."""


def build(shared: Path, folder: Path, size: int) -> Path:
    """Prepare all scans, phantoms and slices at a working size.

    Args:
        shared: folder with `SCANS` and `SLICES_FOLDER`.
        folder: to work in; what is there already is not made again.
        size: slices are size x size.

    Returns:
        The prepared folder.

    Raises:
        DatasetError: scans are missing.
    """
    sources, prepared = folder / "sources", folder / f"prepared-{size}"
    sources.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):  # trials side by side share the data
        if not _complete(prepared, shared):
            _build(shared, sources, prepared, size)
    return prepared


def _complete(prepared: Path, shared: Path) -> bool:
    scans = [scan.partition("/")[2] for scan in SCANS]
    wanted = {*scans, *map(str, PHANTOMS), *_patients(shared / SLICES_FOLDER)}
    try:
        return {case.case_id for case in open_cases(prepared)} == wanted
    except DatasetError:
        return False


def _build(shared: Path, sources: Path, prepared: Path, size: int) -> None:
    for scan in SCANS:
        place, _, case_id = scan.partition("/")
        for kind in ("volume", "segmentation"):
            file = shared / place / f"{kind}-{case_id}.nii.gz"
            if not file.exists():
                raise DatasetError(f"{file} is missing; the bundled model is trained on {SCANS}")
            if not (sources / file.name).exists():
                shutil.copy(file, sources)
    for seed in PHANTOMS:
        if not (sources / f"segmentation-{seed}.nii").exists():
            write_phantom(sources, seed, make_phantom(seed, matrix=256, slices=40), gzip=False)
    (sources / CASES_NAME).write_text(json.dumps({"liver_only": list(LIVER_ONLY)}))
    prepare(find_cases(sources), prepared, size)
    z, y, x = SLICE_SPACING_MM
    for patient, files in _patients(shared / SLICES_FOLDER).items():
        hu, labels, shares = zip(*(_slice(file, size) for file in files), strict=True)
        write_case(
            prepared,
            patient,
            np.stack(hu),
            np.stack(labels),
            shares=np.stack(shares),
            spacing_mm=(z, y * 256 / size, x * 256 / size),
            adjacent=False,
        )


def volumes(sources: Path, case_ids: Sequence[str]) -> tuple[Path, ...]:
    """The files of the scans that `build` put in FOLDER/sources."""
    return tuple(sources / f"volume-{case_id}.nii.gz" for case_id in case_ids)


def without(case_ids: Sequence[str]) -> set[str]:
    """The cases and, under their other names, their patients."""
    return {*case_ids, *(SAME_PATIENT[case_id] for case_id in case_ids if case_id in SAME_PATIENT)}


def _patients(folder: Path) -> dict[str, list[Path]]:
    patients: dict[str, list[Path]] = {}
    for file in sorted((folder / "images").glob("*_*.png")):
        patients.setdefault(f"msd-{file.name.partition('_')[0]}", []).append(file)
    if not patients:
        raise DatasetError(f"{folder}: no images/PATIENT_SLICE.png here")
    return patients


def _slice(
    file: Path, size: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8]]:
    """HU, labels (size, size) and shares of one picture; a maybe lesion is `LESION_UNKNOWN`."""
    hu = _grey(file)
    liver = _grey(file.parent.parent / "masks" / file.name) > 0
    smooth = functional.avg_pool2d(hu[None], 5, stride=1, padding=2)[0]
    labels = liver.to(torch.uint8)
    if liver.any():
        doubtful = (smooth - hu[liver].median()).abs() > _SURELY_LIVER_HU
        labels[liver & doubtful] = LESION_UNKNOWN
    small = resize(hu[None, None], (size, size))[0, 0]
    small_labels = resize_labels(labels[None], (size, size))[0]
    shares = label_shares(labels[None], (size, size))[0]
    return small.numpy(), small_labels.numpy(), shares.numpy()


def _grey(file: Path) -> Tensor:
    with Image.open(file) as picture:
        return torch.from_numpy(np.asarray(picture.convert("L"), np.float32).copy())
