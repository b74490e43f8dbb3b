"""LiTS-style data: cases found by name, and a data set that reads single axial slices."""

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from lits_runtime.errors import DatasetError, LitsError
from lits_runtime.volume import Scan
from lits_train.pipeline import Preprocessing, class_targets, resize_labels
from lits_train.recipe import Recipe

logger = logging.getLogger(__name__)

_NAME = re.compile(r"(volume|segmentation)-(.+?)\.nii(\.gz)?")
_FINGERPRINT_BYTES = 2**20


@dataclass(frozen=True)
class Case:
    """One patient's study: a CT volume and its mask."""

    case_id: str
    volume: Path
    segmentation: Path
    slices: int = 0
    """Canonical axial slices; 0 until `check_case` has read the header."""


def find_cases(folder: Path) -> list[Case]:
    """The pairs volume-ID / segmentation-ID (.nii or .nii.gz) in a folder and its subfolders.

    Raises:
        DatasetError: two files claim the same ID, or there is no complete pair.
    """
    found: dict[str, dict[str, Path]] = {"volume": {}, "segmentation": {}}
    for path in sorted(folder.rglob("*.nii*")):
        if match := _NAME.fullmatch(path.name):
            kind, case_id = match[1], match[2]
            if case_id in found[kind]:
                raise DatasetError(f"{kind}-{case_id} twice: {found[kind][case_id]} and {path}")
            found[kind][case_id] = path
    volumes, segmentations = found["volume"], found["segmentation"]
    for case_id in sorted(volumes.keys() ^ segmentations.keys(), key=_numeric):
        logger.warning("case %s has no %s", case_id, _missing_half(case_id, volumes))
    paired = sorted(volumes.keys() & segmentations.keys(), key=_numeric)
    if not paired:
        raise DatasetError(
            f"{folder}: no pair volume-ID.nii[.gz] and segmentation-ID.nii[.gz] here or in its "
            f"subfolders ({len(volumes)} volumes, {len(segmentations)} segmentations)"
        )
    return [Case(case_id, volumes[case_id], segmentations[case_id]) for case_id in paired]


def open_pair(case: Case) -> tuple[Scan, Scan]:
    """Volume and mask of a case, the mask on the volume's grid.

    LiTS pairs belong together voxel by voxel; the mask's own affine is not used, because it is
    wrong in volumes 28 to 47 (MIC-DKFZ/nnUNet#2751).

    Raises:
        DatasetError: volume and mask differ in shape.
        VolumeError: a file is not readable.
    """
    volume, mask = Scan.open(case.volume), Scan.open(case.segmentation)
    if volume.geometry.shape != mask.geometry.shape:
        raise DatasetError(
            f"volume is {volume.geometry.shape} and segmentation {mask.geometry.shape}"
        )
    mask.geometry = volume.geometry
    return volume, mask


def check_case(case: Case) -> Case:
    """The case with its number of slices, after reading headers and the whole mask.

    Raises:
        DatasetError: volume and mask differ in shape, or the mask holds other labels than 0, 1, 2.
        VolumeError: a file is not readable.
    """
    volume, mask = open_pair(case)
    shape = volume.geometry.canonical_shape
    mask.load()
    for start in range(0, shape[0], 16):
        labels = mask.read_slab(start, min(start + 16, shape[0]))
        if (foreign := labels[(labels != 0) & (labels != 1) & (labels != 2)]).size:
            raise DatasetError(f"segmentation holds label {foreign[0]:g}, expected 0, 1 and 2")
    volume.read_slab(shape[0] - 1, shape[0])  # a truncated file lacks its end
    return Case(case.case_id, case.volume, case.segmentation, shape[0])


def usable_cases(cases: Sequence[Case]) -> tuple[list[Case], dict[str, str]]:
    """Split into the cases that can be read, and the reasons of those that cannot, by case ID.

    Raises:
        DatasetError: not one case is usable.
    """
    usable: list[Case] = []
    problems: dict[str, str] = {}
    for case in cases:
        try:
            usable.append(check_case(case))
        except (LitsError, OSError) as error:
            problems[case.case_id] = str(error)
            logger.warning("case %s is skipped: %s", case.case_id, error)
    if not usable:
        reasons = "; ".join(f"{case_id}: {reason}" for case_id, reason in problems.items())
        raise DatasetError(f"none of {len(cases)} cases is usable: {reasons}")
    return usable, problems


def split_cases(
    cases: Sequence[Case], validation_fraction: float, seed: int
) -> tuple[list[Case], list[Case]]:
    """Training and validation cases, drawn by case with a seed; at least one of each.

    A single case cannot be split: then both lists hold it, and scores say how well it was learnt.
    """
    if len(cases) < 2:
        return list(cases), list(cases)
    order = np.random.default_rng(seed).permutation(len(cases))
    count = min(max(round(len(cases) * validation_fraction), 1), len(cases) - 1)
    chosen = set(order[:count].tolist())
    return (
        [case for index, case in enumerate(cases) if index not in chosen],
        [case for index, case in enumerate(cases) if index in chosen],
    )


def fingerprint(cases: Sequence[Case]) -> str:
    """SHA-256 over IDs, sizes and first MiB of all files: tells data sets apart in seconds."""
    digest = hashlib.sha256()
    for case in cases:
        for path in (case.volume, case.segmentation):
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
            with path.open("rb") as file:
                digest.update(file.read(_FINGERPRINT_BYTES))
    return digest.hexdigest()


class SliceDataset(Dataset[tuple[Tensor, Tensor, int]]):
    """Axial slices of all cases, ready for the network; an item reads only its own slices.

    An item is (input (3, size, size) in 0..1, masks (classes, size, size) of 0 and 1, and the
    index of its case). Files are opened on first use, so that each worker has its own.
    """

    def __init__(self, cases: Sequence[Case], recipe: Recipe) -> None:
        self.cases = list(cases)
        self.recipe = recipe
        self.preprocessing = Preprocessing(recipe)
        self.index = [(c, s) for c, case in enumerate(self.cases) for s in range(case.slices)]
        self._scans: dict[int, tuple[Scan, Scan]] = {}

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor, int]:
        case_index, _ = self.index[item]
        slab_hu, labels = self.read(item, self.recipe.context_slices)
        size = (self.recipe.size, self.recipe.size)
        masks = class_targets(resize_labels(torch.from_numpy(labels), size), self.recipe.classes)
        return self.preprocessing(torch.from_numpy(slab_hu))[0], masks, case_index

    def read(
        self, item: int, context_slices: int = 0
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """HU (1 + 2 * context_slices, height, width) and labels (height, width) of one slice."""
        case_index, number = self.index[item]
        volume, mask = self._pair(case_index)
        slab_hu = volume.read_slab(number, number + 1, context_slices)
        return slab_hu, mask.read_slab(number, number + 1)[0].astype(np.uint8)

    def _pair(self, case_index: int) -> tuple[Scan, Scan]:
        if case_index not in self._scans:
            self._scans[case_index] = open_pair(self.cases[case_index])
        return self._scans[case_index]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_scans": {}}


def _numeric(case_id: str) -> tuple[int, str]:
    return (int(case_id), "") if case_id.isdigit() else (2**31, case_id)


def _missing_half(case_id: str, volumes: dict[str, Path]) -> str:
    return "segmentation" if case_id in volumes else "volume"
