"""DICOM Segmentation objects, ours and others', read as labels on the grid of their frames."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.utils import iter_pixels

from lits_runtime.errors import VolumeError
from lits_runtime.labels import LESION, LIVER
from lits_runtime.messages import printable, without_uids
from lits_runtime.volumes.dicom_objects.identity import as_stored
from lits_runtime.volumes.geometry import Geometry

SEG_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation, Label Map Segmentation."""
MAX_VOXELS = 2**31
_LIVER_CODES = {"10200004", "T-62000"}
_LESION_CODES = {"52988006", "108369006", "86049000", "4147007", "M-01000", "M-80003", "M-03000"}
_LESION_WORDS = ("lesion", "tumor", "tumour", "neoplasm", "metasta", "mass")
_OFF_GRID = 0.1
"""Of a voxel."""


@dataclass(frozen=True)
class SegMask:
    """The labels of a Segmentation, on the smallest grid that holds all its frames."""

    name: str
    labels: NDArray[np.uint8]
    """(i, j, k): 0 background, 1 liver, 2 lesion."""
    geometry: Geometry
    series_uid: str
    """Of the series that it refers to; empty if it names none."""
    ignored: tuple[str, ...] = ()
    """Labels of segments that are neither liver nor lesion."""

    def on(self, target: Geometry) -> NDArray[np.uint8]:
        """The labels on another grid, (i, j, k) in its order; 0 where there is no frame.

        Raises:
            VolumeError: voxels do not lie in the same places, or labels lie outside.
        """
        return on_grid(self.labels, self.geometry, target, self.name)


def on_grid(
    labels: NDArray[np.uint8], geometry: Geometry, target: Geometry, name: str, what: str = "scan"
) -> NDArray[np.uint8]:
    """Labels of one grid on another that has its voxels in the same places, whatever their order.

    Args:
        labels: (i, j, k).
        geometry: of the labels; it may be a part of the target.
        target: the other grid.
        name: of the mask, for messages.
        what: the target is the grid of, for messages.

    Returns:
        (i, j, k) in the target's order; 0 where the labels have no voxel.

    Raises:
        VolumeError: voxels do not lie in the same places, or labels lie outside.
    """
    to_target = np.linalg.inv(target.affine) @ geometry.affine
    turn, offset = np.rint(to_target[:3, :3]).astype(int), np.rint(to_target[:3, 3]).astype(int)
    corners = np.indices((2, 2, 2)).reshape(3, 8).T * (np.array(geometry.shape) - 1)
    exact = corners @ to_target[:3, :3].T + to_target[:3, 3]
    off = float(np.abs(exact - (corners @ turn.T + offset)).max())
    if off > _OFF_GRID or not np.array_equal(turn @ turn.T, np.eye(3)):
        raise VolumeError(
            f"{name}: its voxels are not those of the {what} (off by up to {off:.2g} voxels); give "
            f"the {what} of this mask, or resample the mask to it"
        )
    inside = np.nonzero(labels)
    places = turn @ np.stack(inside) + offset[:, None]
    if places.size and (places.min() < 0 or (places.max(1) >= target.shape).any()):
        raise VolumeError(
            f"{name}: there are labels outside the {what}; give the {what} of this mask"
        )
    placed = np.zeros(target.shape, np.uint8, order="F")
    placed[tuple(places)] = labels[inside]
    return placed


def common_grid(one: Geometry, other: Geometry, name: str) -> Geometry:
    """The smallest grid with the voxels of `one` that two parts of a grid lie in.

    Args:
        one: a part.
        other: another part, whose corners are rounded to voxels of the first.
        name: of the second, for messages.

    Raises:
        VolumeError: they lie too far apart.
    """
    to_one = np.linalg.inv(one.affine) @ other.affine
    corners = np.indices((2, 2, 2)).reshape(3, 8).T * (np.array(other.shape) - 1)
    places = np.rint(corners @ to_one[:3, :3].T + to_one[:3, 3])
    low = np.minimum(places.min(0), 0)
    i, j, k = (int(size) for size in np.maximum(places.max(0) + 1, one.shape) - low)
    if i * j * k > MAX_VOXELS:
        raise VolumeError(f"{name}: a grid of {(i, j, k)}, expected at most {MAX_VOXELS} voxels")
    affine = one.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low
    return Geometry((i, j, k), affine)


def is_seg(path: Path) -> bool:
    """Whether a file is a DICOM Segmentation."""
    try:
        with as_stored():
            found = pydicom.dcmread(path, specific_tags=["SOPClassUID"], stop_before_pixels=True)
            return found.get("SOPClassUID") in SEG_CLASSES
    except (pydicom.errors.InvalidDicomError, OSError, ValueError, TypeError, KeyError, EOFError):
        return False


def read_seg(path: Path) -> SegMask:
    """Read a Segmentation of liver and lesions.

    Where segments overlap, the lesion is on top. Fractional segments count from one half.

    Raises:
        VolumeError: not a Segmentation, damaged, of no regular grid, or neither segment is there.
    """
    name = without_uids(path.name)
    with as_stored(), _errors_of(name):
        seg: Any = pydicom.dcmread(path)
        if seg.get("SOPClassUID") not in SEG_CLASSES:
            kind = printable(str(seg.get("Modality", "unknown")))
            raise VolumeError(f"{name}: DICOM of modality {kind}; expected a DICOM SEG")
        return _mask(seg, name)


@contextmanager
def _errors_of(name: str) -> Iterator[None]:
    """Whatever damaged bytes do to the library, without its words: they may quote the patient."""
    try:
        yield
    except VolumeError:
        raise
    except pydicom.errors.InvalidDicomError:
        raise VolumeError(f"{name}: not a DICOM file; expected a DICOM SEG") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        kind = type(error).__name__
        raise VolumeError(f"{name}: a damaged DICOM SEG ({kind}); write it again") from None


def _mask(seg: Any, name: str) -> SegMask:
    classes, ignored = _classes(seg)
    if not set(classes.values()) & {LIVER, LESION}:
        found = printable(", ".join(ignored[:3])) or "none"
        raise VolumeError(f"{name}: no segment of the liver or of lesions; found: {found}")
    geometry, indices = _grid(seg, name)
    labels = np.zeros(geometry.shape[::-1], np.uint8)
    least, wanted = _least(seg), {LIVER: [0], LESION: [0]}
    for number, value in classes.items():
        wanted[value].append(number)
    frames = zip(_numbers(seg), indices, iter_pixels(seg), strict=True)
    for segment, k, pixels in frames:
        for value in (LIVER, LESION):
            if segment is None:
                mask = (pixels > 0) & np.isin(pixels, wanted[value])
            elif segment in wanted[value]:
                mask = pixels >= least
            else:
                continue
            plane = labels[k]
            plane[mask & (plane < value)] = value
    referenced = seg.get("ReferencedSeriesSequence") or [pydicom.Dataset()]
    uid = str(referenced[0].get("SeriesInstanceUID", ""))
    return SegMask(name, labels.T, geometry, uid, ignored)


def _least(seg: Any) -> float:
    if seg.get("SegmentationType") != "FRACTIONAL":
        return 1
    return float(seg.get("MaximumFractionalValue", 255)) / 2


def _classes(seg: Any) -> tuple[dict[int, int], tuple[str, ...]]:
    """The label of each segment by its number, and the names of the others."""
    classes: dict[int, int] = {}
    ignored = []
    for segment in seg.SegmentSequence:
        number, label = int(segment.SegmentNumber), str(segment.get("SegmentLabel", ""))
        kinds = segment.get("SegmentedPropertyTypeCodeSequence") or [pydicom.Dataset()]
        code, words = str(kinds[0].get("CodeValue", "")), label.lower()
        if code in _LESION_CODES or any(word in words for word in _LESION_WORDS):
            classes[number] = LESION
        elif code in _LIVER_CODES or words == "liver":
            classes[number] = LIVER
        elif number:
            ignored.append(label)
    return classes, tuple(ignored)


def _numbers(seg: Any) -> Iterator[int | None]:
    """The segment of each frame; None if its pixels are numbers of segments."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    for frame in seg.PerFrameFunctionalGroupsSequence:
        if seg.get("SegmentationType") == "LABELMAP":
            yield None
        else:
            segment = _shared_or(frame, shared, "SegmentIdentificationSequence")
            yield int(segment.ReferencedSegmentNumber)


def _shared_or(frame: Any, shared: Any, keyword: str) -> Any:
    return (frame if keyword in frame else shared)[keyword].value[0]


def _grid(seg: Any, name: str) -> tuple[Geometry, list[int]]:
    """The grid of all frames, and the index k of each."""
    shared, frames = seg.SharedFunctionalGroupsSequence[0], seg.PerFrameFunctionalGroupsSequence
    first = frames[0]
    orientation = _shared_or(first, shared, "PlaneOrientationSequence").ImageOrientationPatient
    measures = _shared_or(first, shared, "PixelMeasuresSequence")
    across, down = np.array(orientation, float).reshape(2, 3)
    normal = np.cross(across, down)
    positions = np.array(
        [_shared_or(one, shared, "PlanePositionSequence").ImagePositionPatient for one in frames],
        float,
    )
    along = positions @ normal
    indices, step_mm = _indices(along, measures, name)
    low, high = int(np.argmin(along)), int(np.argmax(along))
    last = int(indices[high])
    step = (positions[high] - positions[low]) / last if last else normal * step_mm
    regular = positions[low] + indices[:, None] * step
    row_mm, column_mm = (float(size) for size in measures.PixelSpacing)
    if np.abs(regular - positions).max() > _OFF_GRID * min(row_mm, column_mm, step_mm):
        raise VolumeError(f"{name}: its frames lie on no regular grid")
    shape = (int(seg.Columns), int(seg.Rows), last + 1)
    if math.prod(shape) > MAX_VOXELS:
        raise VolumeError(f"{name}: a grid of {shape}, expected at most {MAX_VOXELS} voxels")
    lps = np.eye(4)
    lps[:3] = np.stack([across * column_mm, down * row_mm, step, positions[low]], 1)
    return Geometry(shape, np.diag([-1.0, -1, 1, 1]) @ lps), indices.tolist()


def _indices(along: NDArray[np.float64], measures: Any, name: str) -> tuple[Any, float]:
    """Of positions along the normal: which multiple of the step each is, and the step, mm."""
    places = np.unique(np.round(along, 3))
    given = measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 1.0
    step_mm = float(given)
    if len(places) > 1:
        smallest = float(np.diff(places).min())
        if "SpacingBetweenSlices" not in measures or abs(smallest / step_mm % 1) > _OFF_GRID:
            step_mm = smallest
    exact = (along - along.min()) / step_mm
    indices = np.rint(exact).astype(int)
    if np.abs(exact - indices).max() > _OFF_GRID:
        raise VolumeError(f"{name}: its frames are not a whole number of {step_mm:.4g} mm apart")
    return indices, step_mm
