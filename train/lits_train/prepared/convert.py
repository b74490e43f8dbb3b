"""Conversion of pairs of files to prepared data: in canonical orientation, at working size."""

import errno
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lits_runtime.errors import LitsError
from lits_runtime.files.atomic import remove_abandoned
from lits_runtime.files.output_rule import Inputs, check_target
from lits_runtime.volumes.digest import scan_sha256
from lits_runtime.volumes.scan import Scan
from lits_train.data.cases import Case, check_case, file_states, open_pair
from lits_train.data.free_space import gigabytes, require_space
from lits_train.data.parallel import in_processes
from lits_train.network.preprocessing import label_shares, resized_slab, working_spacing_mm
from lits_train.prepared.arrays import array_file, array_paths, rounded_hu
from lits_train.prepared.index import PreparedIndex
from lits_train.prepared.index_content import Entry

logger = logging.getLogger(__name__)

BYTES_PER_PIXEL = 5
"""int16 HU, uint8 labels and two uint8 shares."""
_SLAB = 4
"""Slices read at a time."""
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@dataclass(frozen=True)
class Preparation:
    """What `prepare` did, by case ID."""

    prepared: tuple[str, ...]
    kept: tuple[str, ...]
    """Prepared earlier from the same inputs."""
    skipped: dict[str, str]
    """Unusable, with the reason."""


def prepare(
    cases: Sequence[Case], folder: Path, size: int, *, jobs: int = 1, force: bool = False
) -> Preparation:
    """Convert cases to a prepared folder, except those prepared earlier from the same inputs.

    A case is added to the index once it is complete, so an interrupted preparation can be resumed.
    Other cases in the folder are kept, unless `force` starts over.

    Raises:
        DatasetError: there is too little space, or the folder was prepared at another size.
        OutputError: arrays of these names exist that no preparation wrote.
        OSError: the disk is full, or the folder is not writable.
    """
    index = PreparedIndex(folder, size, start_over=force)
    remove_abandoned(folder)
    todo = [case for case in cases if not _is_prepared(index, case)]
    _check_outputs(index, todo, force)
    slices, skipped = _count_slices(todo)
    needed, planes = slices * size**2 * BYTES_PER_PIXEL, f"{slices} slices at {size} x {size}"
    free = require_space(folder, needed, planes)
    logger.info(
        "%d cases to prepare, %s: %s, %s free; %d cases prepared earlier",
        *(len(todo) - len(skipped), planes, gigabytes(needed), gigabytes(free)),
        len(cases) - len(todo),
    )
    index.expect({case.case_id for case in todo})
    for case_id, reason in skipped.items():
        index.skip(case_id, reason)
    _convert_all(index, [case for case in todo if case.case_id not in skipped], jobs)
    remove_abandoned(folder)  # again: processes of a killed preparation may have ended only now
    if force:
        _remove_unlisted(index)
    done = tuple(case.case_id for case in todo if case.case_id in index.cases)
    kept = {case.case_id for case in cases} - {*done, *index.skipped}
    return Preparation(done, tuple(sorted(kept)), dict(index.skipped))


def _convert_all(index: PreparedIndex, cases: Sequence[Case], jobs: int) -> None:
    to_arrays = partial(convert, folder=index.folder, size=index.size)
    for case, result in in_processes(to_arrays, cases, jobs, "prepare"):
        if isinstance(result, Entry):
            index.commit(case.case_id, result)
        else:
            index.skip(case.case_id, result)


def _check_outputs(index: PreparedIndex, cases: Sequence[Case], force: bool) -> None:
    """Arrays that no preparation of this folder wrote belong to someone else."""
    known = {*index.cases, *index.pending, *index.skipped}
    inputs = Inputs("a case", [path for case in cases for path in (case.volume, case.segmentation)])
    for case in cases:
        for path in array_paths(index.folder, case.case_id):
            check_target(path, inputs, force=force, ours=case.case_id in known)


def _is_prepared(index: PreparedIndex, case: Case) -> bool:
    """Whether a case was prepared from the same files and statements."""
    entry = index.cases.get(case.case_id)
    arrays = array_paths(index.folder, case.case_id)
    if entry is None or not all(path.exists() for path in arrays):
        return False
    try:
        same = entry.inputs["statement"] == _statement(case)
        return same and all(
            _same_file(entry.inputs[kind], path)
            for kind, path in (("volume", case.volume), ("segmentation", case.segmentation))
        )
    except (KeyError, TypeError, OSError):  # `inputs` is not checked when the index is read
        return False


def _same_file(before: dict[str, Any], path: Path) -> bool:
    status = path.stat()
    if before["bytes"] != status.st_size:
        return False
    same_time: bool = before["mtime_ns"] == status.st_mtime_ns
    return same_time or before["sha256"] == scan_sha256(path)


def _count_slices(cases: Sequence[Case]) -> tuple[int, dict[str, str]]:
    """The number of slices according to headers, and by case ID why some cannot be opened."""
    slices, skipped = 0, {}
    for case in cases:
        try:
            volume, _ = open_pair(case)
            slices += volume.geometry.canonical_shape[0]
        except (LitsError, OSError) as error:
            skipped[case.case_id] = str(error)
    return slices, skipped


def convert(case: Case, folder: Path, size: int) -> Entry | str:
    """Write the arrays of a case; its entry for the index, or why it is unusable.

    Raises:
        OSError: the disk is full.
    """
    torch.set_num_threads(1)  # parallel cases are faster than threads within one
    try:
        case = check_case(case)
        volume, mask = open_pair(case)
        range_hu = _write(volume, mask, array_paths(folder, case.case_id), size)
        if file_states(case) != case.states:
            return "a file changed while it was read"
    except LitsError as error:
        return str(error)
    except OSError as error:
        if error.errno in _DISK_ERRORS:
            raise
        return str(error)
    return Entry(
        slices=case.slices,
        spacing_mm=working_spacing_mm(volume.geometry, size),
        liver_only=case.liver_only,
        adjacent=True,
        label_counts=case.label_counts.tolist(),
        range_hu=range_hu.astype(float).tolist(),
        inputs={
            "volume": _input(case.volume, volume),
            "segmentation": _input(case.segmentation, mask),
            "statement": _statement(case),
        },
        notes=list(case.notes),
    )


def _write(
    volume: Scan, mask: Scan, paths: tuple[Path, Path, Path], size: int
) -> NDArray[np.float32]:
    """Stream both files into arrays; minimum and maximum HU of each slice, (slices, 2)."""
    shape = (volume.geometry.canonical_shape[0], size, size)
    range_hu = np.zeros((shape[0], 2), np.float32)
    hu_path, labels_path, shares_path = paths
    of_shares = (2 * shape[0], *shape[1:])
    with ExitStack() as stack:
        write_hu = stack.enter_context(array_file(hu_path, shape, np.int16))
        write_labels = stack.enter_context(array_file(labels_path, shape, np.uint8))
        write_shares = stack.enter_context(array_file(shares_path, of_shares, np.uint8))
        for slab, mask_slab in zip(volume.slabs(_SLAB), mask.slabs(_SLAB), strict=True):
            stored_labels = mask.slab_hu(mask_slab)
            hu, ranges, labels = resized_slab(volume.slab_hu(slab), stored_labels, size)
            full = torch.from_numpy(stored_labels.astype(np.uint8))
            shares = label_shares(full, (size, size)).flatten(0, 1)
            write_hu(slab.start, rounded_hu(hu.numpy()))
            write_labels(slab.start, labels.numpy())
            write_shares(2 * slab.start, shares.numpy())
            range_hu[slab.start : slab.stop] = ranges.numpy()
    return range_hu


def _input(path: Path, scan: Scan) -> dict[str, Any]:
    status = path.stat()
    sha256 = scan.sha256 or scan_sha256(path)
    return {
        "name": path.name,
        "path": str(path.resolve()),
        "bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "sha256": sha256,
    }


def _statement(case: Case) -> dict[str, Any]:
    stated = case.stated_spacing_mm
    return {"liver_only": case.liver_only, "spacing_mm": None if stated is None else list(stated)}


def _remove_unlisted(index: PreparedIndex) -> None:
    """Remove arrays of an earlier preparation that the index does not list."""
    known = {path for case_id in index.cases for path in array_paths(index.folder, case_id)}
    for pattern in ("hu-*.npy", "labels-*.npy", "shares-*.npy"):
        for path in index.folder.glob(pattern):
            if path not in known:
                path.unlink()
