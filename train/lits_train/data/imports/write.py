"""Pairs of another data set written as LiTS-style pairs: linked, copied or converted."""

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lits_runtime.errors import DatasetError, LitsError
from lits_runtime.files.atomic import NewFiles, atomic_folder
from lits_runtime.files.output_rule import Inputs, check_folder
from lits_runtime.labels import LESION, LIVER
from lits_runtime.volumes.names import volume_ending
from lits_runtime.volumes.nifti.writer import write_volume
from lits_runtime.volumes.scan import Scan
from lits_train.data.cases_json import CASES_NAME
from lits_train.data.imports.found import Found, Pair
from lits_train.data.imports.ircadb import unpack
from lits_train.data.imports.splits import SPLITS_NAME

logger = logging.getLogger(__name__)

_WHOLE = (slice(None),) * 3


@dataclass(frozen=True)
class Imported:
    """A case that was imported."""

    case_id: str
    volume: Path
    """Where it came from."""
    how: str
    """"linked", "copied", "mask rewritten" or "converted"."""


def import_pairs(
    found: Found, target: Path, *, copy: bool
) -> tuple[list[Imported], dict[str, str]]:
    """Write the pairs to a new folder, which appears whole or not at all.

    NIfTI files are linked, unless a mask has other values than ours; DICOM is converted.

    Args:
        found: the data set.
        target: must not exist.
        copy: copy files instead of linking to them.

    Returns:
        What was imported, and by file or case what was left out and why.

    Raises:
        OutputError: `target` exists.
        DatasetError: no case could be imported.
        OSError: the disk is full, or links are not allowed.
    """
    check_folder(target, Inputs(), force=False)
    imported: list[Imported] = []
    left_out = dict(found.left_out)
    with atomic_folder(target) as folder:
        for pair in found.pairs:
            try:
                imported.append(_import(pair, found.values, folder, copy))
            except LitsError as error:
                left_out[pair.case_id] = str(error)
                for name in ("volume", "segmentation"):
                    for path in folder.glob(f"{name}-{pair.case_id}.nii*"):
                        path.unlink()
        if not imported:
            reasons = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:3])
            raise DatasetError(f"none of {len(found.pairs)} cases can be imported: {reasons}")
        ids = [one.case_id for one in imported]
        stated: dict[str, Any] = {"liver_only": ids} if found.liver_only else {}
        (folder / CASES_NAME).write_text(json.dumps(stated, indent=1) + "\n")
        if found.splits is not None:
            shutil.copyfile(found.splits, folder / SPLITS_NAME)
    return imported, left_out


def _import(pair: Pair, values: Mapping[int, int], folder: Path, copy: bool) -> Imported:
    if pair.structures:
        _convert(pair, folder)
        return Imported(pair.case_id, pair.volume, "converted")
    volume, mask = Scan.open(pair.volume), Scan.open(pair.mask)
    if volume.geometry.shape != mask.geometry.shape:
        raise DatasetError(
            f"volume is {volume.geometry.shape} and segmentation {mask.geometry.shape}"
        )
    _place(pair.volume, folder / f"volume-{pair.case_id}{_ending(pair.volume)}", copy)
    target = folder / f"segmentation-{pair.case_id}{_ending(pair.mask)}"
    if values:
        _save(target, _relabelled(mask, values), mask)
        return Imported(pair.case_id, pair.volume, "mask rewritten")
    _place(pair.mask, target, copy)
    return Imported(pair.case_id, pair.volume, "copied" if copy else "linked")


def _ending(path: Path) -> str:
    return str(volume_ending(path.name))


def _place(source: Path, target: Path, copy: bool) -> None:
    if copy:
        shutil.copyfile(source, target)
        return
    try:
        target.symlink_to(source.resolve())
    except OSError as error:  # as on Windows without the privilege
        raise OSError(
            error.errno,
            f"no link to {source} can be made ({os.strerror(error.errno or 0)}); --copy",
        ) from error


def _relabelled(mask: Scan, values: Mapping[int, int]) -> NDArray[np.uint8]:
    """The mask (i, j, k) with our labels."""
    stored = mask.source.read(_WHOLE)
    labels = np.zeros(stored.shape, np.uint8)
    known = np.zeros(stored.shape, bool)
    for value, label in values.items():
        here = np.abs(stored - value) < 0.01
        labels[here], known = label, known | here
    if not known.all():
        odd = float(stored[~known].flat[0])
        raise DatasetError(f"segmentation has the value {odd:g}, which dataset.json does not name")
    return labels


def _convert(pair: Pair, folder: Path) -> None:
    """DICOM slices to NIfTI, and the masks of structures to one label map."""
    volume = Scan.open(pair.volume)
    labels = np.zeros(volume.geometry.shape, np.uint8)
    with tempfile.TemporaryDirectory(prefix="lits-import-") as scratch:
        masks = pair.mask
        if masks.is_file():
            masks = Path(scratch)
            unpack(pair.mask, (*pair.structures["liver"], *pair.structures["lesion"]), masks)
        for kind, label in (("liver", LIVER), ("lesion", LESION)):
            for name in pair.structures[kind]:
                labels[_structure(Scan.open(masks / name), volume, name)] = label
    hu = volume.source.read(_WHOLE)
    _save(folder / f"volume-{pair.case_id}.nii.gz", hu, volume)
    _save(folder / f"segmentation-{pair.case_id}.nii.gz", labels, volume)


def _structure(mask: Scan, volume: Scan, name: str) -> NDArray[np.bool_]:
    """Where a structure is: half of the largest value of its slices and more."""
    if not mask.geometry.same_grid(volume.geometry):
        raise DatasetError(
            f"the mask {name} is on another grid: {mask.geometry.shape}, the CT "
            f"{volume.geometry.shape}"
        )
    values = mask.source.read(_WHOLE)
    low, high = float(values.min()), float(values.max())
    return values > (low + high) / 2 if high > low else np.zeros(values.shape, bool)


def _save(path: Path, values: NDArray[Any], scan: Scan) -> None:
    with NewFiles() as new:
        write_volume(new.open(path), np.asfortranarray(values), scan.geometry.affine)
        new.close()
        new.take_names()
