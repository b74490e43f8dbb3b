"""The training data of the bundled model, prepared from public scans, slices and phantoms."""

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
from lits_tools.bundled.settings import TrialData
from lits_train.data.case_files import find_files
from lits_train.data.cases import find_cases
from lits_train.data.cases_json import CASES_NAME
from lits_train.network.preprocessing import label_shares, resize, resize_labels
from lits_train.prepared.convert import prepare
from lits_train.prepared.slices import open_cases
from lits_train.prepared.write_case import write_case
from lits_train.settings.recipe import LESION_UNKNOWN

logger = logging.getLogger(__name__)


def build(data: TrialData, shared: Path, folder: Path, size: int) -> Path:
    """Prepare all scans, phantoms and slices at a working size.

    Args:
        data: what to prepare.
        shared: folder that its paths are relative to.
        folder: working folder; complete data in it are kept.
        size: slices are resized to size x size.

    Returns:
        The prepared folder.

    Raises:
        DatasetError: scans are missing.
    """
    sources, prepared = folder / "sources", folder / f"prepared-{size}"
    sources.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):  # parallel trials share the data
        if not _complete(data, prepared, shared):
            _collect_scans(data, shared, sources)
            prepare(find_cases(sources), prepared, size)
            _prepare_slices(data, shared, prepared, size)
    return prepared


def _complete(data: TrialData, prepared: Path, shared: Path) -> bool:
    more = {case_id for folder in data.more_scans for case_id in find_files(shared / folder)}
    wanted = {*data.case_ids, *more, *map(str, data.phantoms), *_slices(data, shared)}
    try:
        return {case.case_id for case in open_cases(prepared)} == wanted
    except DatasetError:
        return False


def _collect_scans(data: TrialData, shared: Path, sources: Path) -> None:
    for scan in data.scans:
        place, _, case_id = scan.partition("/")
        for kind in ("volume", "segmentation"):
            file = shared / place / f"{kind}-{case_id}.nii.gz"
            if not file.exists():
                raise DatasetError(f"{file} is missing: trials need all of {', '.join(data.scans)}")
            _copy(file, sources)
    for folder in data.more_scans:
        for file in sorted((shared / folder).glob("*-*.nii.gz")):
            _copy(file, sources)
    for seed in data.phantoms:
        if not (sources / f"segmentation-{seed}.nii").exists():
            write_phantom(sources, seed, make_phantom(seed, matrix=256, slices=40), gzip=False)
    (sources / CASES_NAME).write_text(json.dumps({"liver_only": list(data.liver_only)}))


def _copy(file: Path, folder: Path) -> None:
    if not (folder / file.name).exists():
        shutil.copy(file, folder)


def _prepare_slices(data: TrialData, shared: Path, prepared: Path, size: int) -> None:
    z, y, x = data.slice_spacing_mm
    for patient, files in _slices(data, shared).items():
        slices = (_slice(file, size, data.surely_liver_hu) for file in files)
        hu, labels, shares = zip(*slices, strict=True)
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
    """The volumes of cases that `build` copied to FOLDER/sources."""
    return tuple(sources / f"volume-{case_id}.nii.gz" for case_id in case_ids)


def without(case_ids: Sequence[str], data: TrialData, shared: Path) -> set[str]:
    """The cases, and every other case of the same patients.

    Raises:
        DatasetError: the table of patients is not readable.
    """
    of_case = patients(data, shared)
    hidden = {of_case.get(case_id, case_id) for case_id in case_ids}
    same = {name for name, patient in of_case.items() if patient in hidden}
    return {*case_ids, *same, *(_negatives_of(case_id) for case_id in {*case_ids, *same})}


def patients(data: TrialData, shared: Path) -> dict[str, str]:
    """The patient of each case that has another case of the same patient.

    Raises:
        DatasetError: the table of patients is not readable.
    """
    found = {name: one for one, other in data.same_patient.items() for name in (one, other)}
    path = shared / data.table
    if not path.exists():
        return found
    try:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                patient = f"patient {row['patient'] or row['lits']}"
                found |= {row["lits"]: patient, f"msd-{row['msd_slices_case']}": patient}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise DatasetError(f"{path}: not a table of LiTS cases and patients: {error}") from error
    return found


def _negatives_of(case_id: str) -> str:
    return f"negative-{case_id.zfill(3)}"


def _slices(data: TrialData, shared: Path) -> dict[str, list[Path]]:
    """The files of single slices, by the case that they make up."""
    cases: dict[str, list[Path]] = {}
    for folder, kind in ((data.slices, "msd"), (data.negatives, "negative")):
        for file in sorted((shared / folder / "images").glob("*_*.png")):
            cases.setdefault(f"{kind}-{file.name.partition('_')[0]}", []).append(file)
    if not any(case_id.startswith("msd-") for case_id in cases):
        raise DatasetError(f"{shared / data.slices}: no images/PATIENT_SLICE.png here")
    return cases


def _slice(
    file: Path, size: int, surely_liver_hu: float
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8]]:
    """HU, labels (size, size) and class shares of one picture.

    Liver that may or may not be lesion is `LESION_UNKNOWN`.
    """
    hu = _grey(file)
    liver = _grey(file.parent.parent / "masks" / file.name) > 0
    smooth = functional.avg_pool2d(hu[None], 5, stride=1, padding=2)[0]
    labels = liver.to(torch.uint8)
    if liver.any():
        doubtful = (smooth - hu[liver].median()).abs() > surely_liver_hu
        labels[liver & doubtful] = LESION_UNKNOWN
    small = resize(hu[None, None], (size, size))[0, 0]
    small_labels = resize_labels(labels[None], (size, size))[0]
    shares = label_shares(labels[None], (size, size))[0]
    return small.numpy(), small_labels.numpy(), shares.numpy()


def _grey(file: Path) -> Tensor:
    with Image.open(file) as picture:
        return torch.from_numpy(np.asarray(picture.convert("L"), np.float32).copy())
