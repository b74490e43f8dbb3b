"""From pairs of NIfTI files to prepared data: canonical, and resized once."""

import errno
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lits_runtime.errors import LitsError
from lits_runtime.files.atomic import remove_abandoned
from lits_runtime.files.output_rule import Inputs, check_target
from lits_runtime.volumes.digest import file_sha256
from lits_runtime.volumes.scan import Scan
from lits_train.data.cases import Case, check_case, file_states, open_pair
from lits_train.data.free_space import gigabytes, require_space
from lits_train.data.parallel import in_processes
from lits_train.prepared.index import Entry, PreparedIndex, array_file, array_paths, rounded_hu

logger = logging.getLogger(__name__)

BYTES_PER_PIXEL = 5
"""int16 HU, uint8 labels and two shares of uint8."""
_RUN = 4
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@dataclass(frozen=True)
class Preparation:
    """What `prepare` did, by case ID."""

    prepared: tuple[str, ...]
    kept: tuple[str, ...]
    """Were there already, from the same inputs."""
    skipped: dict[str, str]
    """Why these are not usable."""


def prepare(
    cases: Sequence[Case], folder: Path, size: int, *, jobs: int = 1, force: bool = False
) -> Preparation:
    """Write cases to a prepared folder; what is there from the same inputs is not made again.

    A case appears in the index only when it is whole, so that a killed preparation goes on where
    it was. Other cases of the folder stay, unless `force` begins it anew.

    Raises:
        DatasetError: the disk is too small, or the folder was prepared at another size.
        OutputError: there are arrays of these names that no preparation tells of.
        OSError: the disk is full, or the folder cannot be written.
    """
    index = PreparedIndex(folder, size, anew=force)
    remove_abandoned(folder)
    todo = [case for case in cases if not _is_there(index, case)]
    _check_outputs(index, todo, force)
    slices, skipped = _count_slices(todo)
    needed = slices * size * size * BYTES_PER_PIXEL
    free = require_space(folder, needed, f"{slices} slices at {size} x {size}")
    logger.info(
        "%d cases to prepare, %d slices at %d x %d: %s, %s are free; %d are there already",
        *(len(todo) - len(skipped), slices, size, size, gigabytes(needed), gigabytes(free)),
        len(cases) - len(todo),
    )
    index.expect({case.case_id for case in todo})
    for case_id, reason in skipped.items():
        index.skip(case_id, reason)
    work = [_Task(case, folder, size) for case in todo if case.case_id not in skipped]
    for task, result in in_processes(convert, work, jobs, "prepare"):
        if isinstance(result, Entry):
            index.commit(task.case.case_id, result)
        else:
            index.skip(task.case.case_id, result)
    remove_abandoned(folder)  # again: processes of a killed preparation may have ended only now
    if force:
        _remove_strangers(index)
    done = tuple(case.case_id for case in todo if case.case_id in index.cases)
    kept = tuple(case.case_id for case in cases if case.case_id not in index.skipped)
    return Preparation(done, tuple(sorted(set(kept) - set(done))), dict(index.skipped))


@dataclass(frozen=True)
class _Task:
    """One case to convert."""

    case: Case
    folder: Path
    size: int


def _check_outputs(index: PreparedIndex, cases: Sequence[Case], force: bool) -> None:
    """Arrays that no preparation of this folder tells of are somebody's."""
    known = {*index.cases, *index.pending, *index.skipped}
    inputs = Inputs("a case", [path for case in cases for path in (case.volume, case.segmentation)])
    for case in cases:
        for path in array_paths(index.folder, case.case_id):
            check_target(path, inputs, force=force, ours=case.case_id in known)


def _is_there(index: PreparedIndex, case: Case) -> bool:
    """Whether a case is prepared already, from the same files and statements."""
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
    except (KeyError, TypeError, OSError):  # an index may say anything of its inputs
        return False


def _same_file(before: dict[str, Any], path: Path) -> bool:
    status = path.stat()
    if before["bytes"] != status.st_size:
        return False
    untouched: bool = before["mtime_ns"] == status.st_mtime_ns
    return untouched or before["sha256"] == file_sha256(path)


def _count_slices(cases: Sequence[Case]) -> tuple[int, dict[str, str]]:
    """Slices of all cases, by their headers, and why some cannot be opened."""
    slices, skipped = 0, {}
    for case in cases:
        try:
            volume, _ = open_pair(case)
            slices += volume.geometry.canonical_shape[0]
        except (LitsError, OSError) as error:
            skipped[case.case_id] = str(error)
    return slices, skipped


def convert(task: _Task) -> Entry | str:
    """Write the arrays of a case; what the index should say of it, or why it is not usable.

    Raises:
        OSError: the disk is full.
    """
    import torch

    from lits_train.samples.dataset import working_spacing_mm

    torch.set_num_threads(1)  # cases side by side are faster than threads within one
    try:
        case = check_case(task.case)
        volume, mask = open_pair(case)
        range_hu = _write(volume, mask, task)
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
        spacing_mm=working_spacing_mm(volume.geometry, task.size),
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


def _write(volume: Scan, mask: Scan, task: _Task) -> NDArray[np.float32]:
    """Stream both files into arrays; least and greatest HU of each slice, (slices, 2)."""
    import torch

    from lits_train.network.slab_segmenter import label_shares
    from lits_train.samples.dataset import resized_slab

    shape = (volume.geometry.canonical_shape[0], task.size, task.size)
    range_hu = np.zeros((shape[0], 2), np.float32)
    hu_path, labels_path, shares_path = array_paths(task.folder, task.case.case_id)
    of_shares = (2 * shape[0], *shape[1:])
    with ExitStack() as stack:
        write_hu = stack.enter_context(array_file(hu_path, shape, np.int16))
        write_labels = stack.enter_context(array_file(labels_path, shape, np.uint8))
        write_shares = stack.enter_context(array_file(shares_path, of_shares, np.uint8))
        for run, mask_run in zip(volume.slabs(_RUN), mask.slabs(_RUN), strict=True):
            mask_slab = mask.slab_hu(mask_run)
            hu, ranges, labels = resized_slab(volume.slab_hu(run), mask_slab, task.size)
            full = torch.from_numpy(mask_slab.astype(np.uint8))
            shares = label_shares(full, (task.size, task.size)).flatten(0, 1)
            write_hu(run.start, rounded_hu(hu.numpy()))
            write_labels(run.start, labels.numpy())
            write_shares(2 * run.start, shares.numpy())
            range_hu[run.start : run.stop] = ranges.numpy()
    return range_hu


def _input(path: Path, scan: Scan) -> dict[str, Any]:
    status = path.stat()
    sha256 = scan.sha256 or file_sha256(path)
    return {
        "name": path.name,
        "bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "sha256": sha256,
    }


def _statement(case: Case) -> dict[str, Any]:
    stated = case.stated_spacing_mm
    return {"liver_only": case.liver_only, "spacing_mm": None if stated is None else list(stated)}


def _remove_strangers(index: PreparedIndex) -> None:
    """Remove arrays that an earlier preparation left and the index does not list."""
    known = {path for case_id in index.cases for path in array_paths(index.folder, case_id)}
    for pattern in ("hu-*.npy", "labels-*.npy", "shares-*.npy"):
        for path in index.folder.glob(pattern):
            if path not in known:
                path.unlink()
