"""The data that the bundled model is trained on, prepared from the public scans and phantoms."""

import csv
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
from lits_runtime.phantom.ct import make_phantom, write_phantom
from lits_train.data.case_files import find_files
from lits_train.data.cases import find_cases
from lits_train.data.cases_json import CASES_NAME
from lits_train.network.preprocessing import label_shares, resize, resize_labels
from lits_train.prepared.convert import prepare
from lits_train.prepared.slices import open_cases
from lits_train.prepared.write_case import write_case
from lits_train.settings.recipe import LESION_UNKNOWN

logger = logging.getLogger(__name__)

SCANS = ("lits/44", "liver_only/28", "liver_only/1003")
"""CT with masks of which there must be all, as folder/ID; trials are scored on them."""
MORE_SCANS = ("lits_train", "lits_crop")
"""Folders of further CT with masks, trained on where they are."""
TABLE = "lits_train/table.csv"
"""Which of the cases are one patient, and which slices are his: columns lits, patient,
msd_slices_case."""
LIVER_ONLY = ("28",)
"""Their lesions lie unmarked in the liver. 1003 is a healthy donor: truly without lesions."""
PHANTOMS = range(100, 116)
SLICES_FOLDER = "msd_slices"
"""Separate axial slices of MSD Task03 patients: HU clipped to 0..255, lesions within the liver."""
NEGATIVES_FOLDER = "lits_negatives"
"""Separate axial slices of LiTS scans that show no liver: HU clipped to 0..160."""
SAME_PATIENT = {"44": "msd-10067", "28": "msd-10049"}
"""Patients who are in two of the sources under different names; `TABLE` has more."""
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
    more = {case_id for folder in MORE_SCANS for case_id in find_files(shared / folder)}
    wanted = {*scans, *more, *map(str, PHANTOMS), *_slices(shared)}
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
    for folder in MORE_SCANS:
        for file in sorted((shared / folder).glob("*-*.nii.gz")):
            if not (sources / file.name).exists():
                shutil.copy(file, sources)
    for seed in PHANTOMS:
        if not (sources / f"segmentation-{seed}.nii").exists():
            write_phantom(sources, seed, make_phantom(seed, matrix=256, slices=40), gzip=False)
    (sources / CASES_NAME).write_text(json.dumps({"liver_only": list(LIVER_ONLY)}))
    prepare(find_cases(sources), prepared, size)
    z, y, x = SLICE_SPACING_MM
    for patient, files in _slices(shared).items():
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


def without(case_ids: Sequence[str], shared: Path) -> set[str]:
    """The cases and, under their other names, their patients.

    Raises:
        DatasetError: `TABLE` is there and not as it should be.
    """
    patients = _patients(shared)
    hidden = {patients.get(case_id, case_id) for case_id in case_ids}
    same = {name for name, patient in patients.items() if patient in hidden}
    return {*case_ids, *same, *(_negatives_of(case_id) for case_id in {*case_ids, *same})}


def _patients(shared: Path) -> dict[str, str]:
    """The patient of each case, and of each MSD patient's slices, that has more than one name."""
    patients = {name: case_id for case_id, msd in SAME_PATIENT.items() for name in (case_id, msd)}
    path = shared / TABLE
    if not path.exists():
        return patients
    try:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                patient = f"patient {row['patient'] or row['lits']}"
                patients |= {row["lits"]: patient, f"msd-{row['msd_slices_case']}": patient}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise DatasetError(f"{path}: not a table of LiTS cases and patients: {error}") from error
    return patients


def _negatives_of(case_id: str) -> str:
    return f"negative-{case_id.zfill(3)}"


def _slices(shared: Path) -> dict[str, list[Path]]:
    """The files of separate slices, by the case that they become."""
    cases: dict[str, list[Path]] = {}
    for folder, kind in ((SLICES_FOLDER, "msd"), (NEGATIVES_FOLDER, "negative")):
        for file in sorted((shared / folder / "images").glob("*_*.png")):
            cases.setdefault(f"{kind}-{file.name.partition('_')[0]}", []).append(file)
    if not any(case_id.startswith("msd-") for case_id in cases):
        raise DatasetError(f"{shared / SLICES_FOLDER}: no images/PATIENT_SLICE.png here")
    return cases


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
