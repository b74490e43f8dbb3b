"""Slices in order along their normal, and the grid that they form, or why they form none."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lits_runtime.errors import VolumeError
from lits_runtime.volumes.dicom.series import SliceHeader
from lits_runtime.volumes.dicom.sorting.images import Image
from lits_runtime.volumes.geometry import Geometry

TOLERANCE, TOLERANCE_MM = 0.01, 0.01
"""Of a step between slices, whichever is larger: vendors round positions."""
_OFF_LINE = 0.1
"""Of a step, that a slice may lie off the line through the first and last."""
_MOST_IN_A_ROW = 3
_MOST_PART_FILLED = 0.1
_TILT_NOTED_DEGREES = 0.5
_NOT_UNIT = 0.01
_ELSE = "choose another series, or get this one again from the scanner or the archive"


@dataclass(frozen=True)
class Grid:
    """Slices in order, and where they are."""

    slices: tuple[SliceHeader, ...]
    geometry: Geometry
    notes: tuple[str, ...]


def some(images: Sequence[Image | SliceHeader]) -> str:
    """Up to three file names, and how many more there are.

    A name that held a UID, which is hashed, is followed by the number of the image.
    """
    headers = [one.header if isinstance(one, Image) else one for one in images]
    names = list(dict.fromkeys(map(_label, headers)))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _label(header: SliceHeader) -> str:
    name = header.stored.name
    if header.frame is not None:
        return f"{name} (frame {header.frame + 1})"
    hashed = name not in (header.path.name, header.stored.member and header.stored.member.name)
    if hashed and header.instance_number is not None:
        return f"{name} (image {header.instance_number})"
    return name


def axes_of(orientation: Sequence[float]) -> NDArray[np.float64]:
    """Unit vectors of rows, columns and the normal, (3, 3), LPS+.

    Raises:
        VolumeError: they are no directions at right angles.
    """
    axes = np.array(orientation, float).reshape(2, 3)
    lengths = np.linalg.norm(axes, axis=1)
    if abs(lengths - 1).max() > _NOT_UNIT or abs(axes[0] @ axes[1]) > _NOT_UNIT:
        shown = "\\".join(f"{value:.4g}" for value in orientation)
        raise VolumeError(f"an orientation of {shown}, no two directions at right angles; {_ELSE}")
    axes /= lengths[:, None]
    return np.vstack([axes, np.cross(axes[0], axes[1])])


def places_of(images: Sequence[Image]) -> NDArray[np.float64]:
    """Where images lie along their common normal, mm."""
    normal = axes_of(images[0].orientation)[2]
    places: NDArray[np.float64] = np.array([one.position for one in images]) @ normal
    return places


def grid_of(images: Sequence[Image], *, fill_missing: bool) -> Grid:
    """The grid of images of one orientation, no two of which share a place.

    Args:
        images: in any order.
        fill_missing: interpolate single missing slices.

    Raises:
        VolumeError: they are not evenly spaced, slices are missing, or shifted.
    """
    images = [images[index] for index in np.argsort(places_of(images), kind="stable")]
    axes = axes_of(images[0].orientation)
    positions = np.array([one.position for one in images])
    notes = []
    if len(images) == 1:
        step, counts = _single_step(images[0]) * axes[2], np.zeros(0, int)
        notes.append("one slice: its thickness stands for the distance between slices")
    else:
        step, counts = _steps(images, positions, axes[2])
    if (counts > 1).any():
        if not fill_missing:
            raise VolumeError(_missing(images, counts))
        notes.append(_filled(images, counts))
    tilt = math.degrees(math.acos(min(1.0, float(step @ axes[2]) / float(np.linalg.norm(step)))))
    if tilt > _TILT_NOTED_DEGREES:
        notes.append(f"gantry tilt of {tilt:.1f} degrees: slices stay as they are, sheared")
    slices = _with_filled(images, counts)
    layout = images[0].header.layout
    rows_mm, columns_mm = images[0].spacing_mm
    affine = np.eye(4)
    columns: Any = (axes[0] * columns_mm, axes[1] * rows_mm, step, positions[0])
    affine[:3] = np.column_stack(columns)
    affine[:2] *= -1  # LPS+ to RAS+
    return Grid(slices, Geometry((layout.columns, layout.rows, len(slices)), affine), tuple(notes))


def _single_step(image: Image) -> float:
    thickness = image.acquisition.thickness_mm
    return thickness if thickness and thickness > 0 else 1.0


def _steps(
    images: Sequence[Image], positions: NDArray[np.float64], normal: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The vector between neighbours, and how many such steps lie between each two images."""
    differences = np.diff(positions, axis=0)
    along = differences @ normal
    least = float(np.min(along))
    usual = float(np.median(along[along < 1.5 * least]))
    counts = np.rint(along / usual).astype(int)
    tolerance = max(TOLERANCE * usual, TOLERANCE_MM)
    off = abs(along - counts * usual) > tolerance * np.maximum(counts, 1)
    if off.any() or (counts - 1).sum() > max(1, len(images) // 2):
        first = int(np.flatnonzero(off if off.any() else counts > 1)[0])
        raise VolumeError(
            f"steps of {along.min():.4g} to {along.max():.4g} mm between slices, which are not "
            f"evenly spaced: first between {some(images[first : first + 2])}; {_ELSE}"
        )
    step = (positions[-1] - positions[0]) / counts.sum()
    line = positions[0] + np.outer(np.concatenate([[0], np.cumsum(counts)]), step)
    away = np.linalg.norm(positions - line, axis=1)
    if away.max() > _OFF_LINE * usual + TOLERANCE_MM:
        worst = images[int(away.argmax())]
        raise VolumeError(
            f"slices up to {away.max():.3g} mm off the line through the first and the last, as if "
            f"shifted against each other: worst {some([worst])}; {_ELSE}"
        )
    return step, counts


def _missing(images: Sequence[Image], counts: NDArray[np.int64]) -> str:
    gaps = np.flatnonzero(counts > 1)
    first = int(gaps[0])
    number = int((counts - 1).sum())
    lacking = "slice is" if number == 1 else "slices are"
    places = places_of(images)
    where = f"between {places[first]:.4g} and {places[first + 1]:.4g} mm along the normal"
    more = f", and in {len(gaps) - 1} more gaps" if len(gaps) > 1 else ""
    return (
        f"{number} {lacking} missing, {where}{more}: after {some([images[int(k)] for k in gaps])}; "
        "copy the series again, or have it filled in (--fill-missing, or "
        "fill_missing=True)"
    )


def _filled(images: Sequence[Image], counts: NDArray[np.int64]) -> str:
    """The note on what is filled in.

    Raises:
        VolumeError: too much is missing.
    """
    number, total = int((counts - 1).sum()), int(counts.sum()) + 1
    most = max(1, int(_MOST_PART_FILLED * total))
    if number > most or counts.max() > _MOST_IN_A_ROW + 1:
        raise VolumeError(
            f"{number} of {total} slices are missing, up to {int(counts.max()) - 1} in a row: too "
            f"many to fill in (at most {_MOST_IN_A_ROW} in a row, {most} in all); copy the series "
            "again"
        )
    missing = [int(k) + 1 for k in np.flatnonzero(_is_filled(counts))]
    shown = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
    return (
        f"{number} missing slice{'s' * (number > 1)} interpolated linearly between neighbours: "
        f"slice {shown} of {total}, counted along the normal"
    )


def _is_filled(counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """By slice of the grid, whether no image lies there."""
    filled = np.ones(int(counts.sum()) + 1, bool)
    filled[np.concatenate([[0], np.cumsum(counts)])] = False
    return filled


def _with_filled(images: Sequence[Image], counts: NDArray[np.int64]) -> tuple[SliceHeader, ...]:
    slices = [images[0].header]
    for count, before, after in zip(counts, images, images[1:], strict=False):
        first, last = np.array(before.position), np.array(after.position)
        for part in range(1, int(count)):
            x, y, z = (first + (last - first) * part / count).tolist()
            slices.append(
                replace(
                    before.header,
                    position=(x, y, z),
                    sop_instance_uid="",
                    instance_number=None,
                    filled=True,
                )
            )
        slices.append(after.header)
    return tuple(slices)
