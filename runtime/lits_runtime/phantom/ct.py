"""A synthetic CT of the abdomen with liver and lesion labels, drawn from a seed.

It needs no download, so it serves tests, demonstrations and smoke training. It is no model of
disease: scores on it say nothing about patients.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lits_runtime.files.atomic import NewFiles
from lits_runtime.files.output_rule import Inputs, check_target
from lits_runtime.labels import LESION, LIVER
from lits_runtime.phantom.liver import Liver
from lits_runtime.phantom.organs import Organs
from lits_runtime.phantom.shapes import Array, Canvas, Plane
from lits_runtime.phantom.torso import Torso
from lits_runtime.records.record_file import matches
from lits_runtime.volumes.nifti.writer import write_volume

ORIENTATIONS = ("LPS", "LAS", "RAS")
AIR_HU, OUTSIDE_HU = np.float32(-1003), -1024

_TOP_MM, _BOTTOM_MM = 42.0, -212.0


@dataclass(frozen=True)
class Phantom:
    """A volume with its labels, as nibabel would return them."""

    volume_hu: NDArray[np.int16]
    """Hounsfield values (i, j, k), in the axis order and directions of the affine."""
    labels: NDArray[np.uint8]
    """LiTS values of the same shape: 0 background, 1 liver, 2 lesion."""
    affine: NDArray[np.float64]
    """(4, 4) voxel to world, mm, RAS+."""
    seed: int


def make_phantom(
    seed: int = 0,
    *,
    matrix: int = 512,
    slices: int = 60,
    spacing_mm: tuple[float, float, float] | None = None,
    orientation: str = "LPS",
    lesions: int | None = None,
) -> Phantom:
    """Draw a CT of the abdomen: the same arguments give the same voxels.

    Args:
        seed: Decides the anatomy, the contrast phase, the lesions and the noise.
        matrix: Rows and columns of a slice.
        slices: Number of axial slices, centred on the liver.
        spacing_mm: Voxel size per stored axis (in-plane, in-plane, slice). By default the field of
            view is 380 to 420 mm and the slices reach from lung bases to lower kidneys.
        orientation: Directions of i, j and k: LPS, LAS or RAS; the anatomy keeps its place.
        lesions: How many to place in the liver. By default the seed decides: none in a third of
            the cases, otherwise one to six.

    Raises:
        ValueError: An argument is out of range.
    """
    _check(seed, matrix, slices, spacing_mm, orientation, lesions)
    rng = np.random.default_rng(seed)
    field_mm = rng.uniform(382, 418)
    centre = rng.uniform(-6, 6, 2) + np.array([0, 14])
    noise_hu = rng.uniform(8, 17)
    drawn = 0 if rng.random() < 1 / 3 else int(rng.integers(1, 7))
    torso = Torso(rng)
    liver = Liver(rng, torso)
    organs = Organs(rng, torso, liver)
    if spacing_mm is None:
        spacing_mm = (field_mm / matrix, field_mm / matrix, (_TOP_MM - _BOTTOM_MM) / slices)
    x, y, heights = _positions(matrix, slices, spacing_mm, centre)
    _place_lesions(rng, torso, liver, organs, heights, drawn if lesions is None else lesions)
    volume, labels = _render(seed, torso, liver, organs, Plane(x, y), heights, noise_hu)
    origin = (float(x[0]), float(y[0]), heights[0])
    return _orient(volume, labels, spacing_mm, origin, orientation, seed)


def _positions(
    matrix: int,
    slices: int,
    spacing_mm: tuple[float, float, float],
    centre: NDArray[np.float64],
) -> tuple[NDArray[np.float32], NDArray[np.float32], list[float]]:
    """Where columns, rows and slices are, mm."""
    middle = (_TOP_MM + _BOTTOM_MM) / 2
    steps = (np.arange(slices) - (slices - 1) / 2) * spacing_mm[2]
    span = np.arange(matrix) - (matrix - 1) / 2
    x = (span * spacing_mm[0] + centre[0]).astype(np.float32)
    y = (span * spacing_mm[1] + centre[1]).astype(np.float32)
    return x, y, [float(z) for z in middle + steps]


def _check(
    seed: int,
    matrix: int,
    slices: int,
    spacing_mm: tuple[float, float, float] | None,
    orientation: str,
    lesions: int | None,
) -> None:
    if seed < 0:
        raise ValueError(f"seed is {seed}: give 0 or more")
    if not 16 <= matrix <= 2048:
        raise ValueError(f"matrix is {matrix}: give 16 to 2048 rows and columns")
    if not 1 <= slices <= 2000:
        raise ValueError(f"slices is {slices}: give 1 to 2000")
    if spacing_mm is not None and (
        len(spacing_mm) != 3 or not all(0.05 <= step <= 100 for step in spacing_mm)
    ):
        raise ValueError(f"spacing_mm is {spacing_mm}: give three sizes of 0.05 to 100 mm")
    if orientation not in ORIENTATIONS:
        raise ValueError(f"orientation is {orientation!r}: give one of {', '.join(ORIENTATIONS)}")
    if lesions is not None and not 0 <= lesions <= 50:
        raise ValueError(f"lesions is {lesions}: give 0 to 50, or None to let the seed decide")


def _place_lesions(
    rng: np.random.Generator,
    torso: Torso,
    liver: Liver,
    organs: Organs,
    heights: list[float],
    count: int,
) -> None:
    """Place lesions where the liver is seen: the organs painted over it would cut them."""
    grid = np.arange(-130, 131, 4, dtype=np.float32)
    plane, thin = Plane(grid, grid), heights[:: max(1, len(heights) // 40)]
    chest, room = torso.diaphragm(plane), []
    for z in thin:
        within = plane.within(torso.cavity(z))
        distance = liver.distance(plane, z, within, z - chest)
        room.append(np.minimum(distance, organs.clearance(plane, z, within)))
    liver.add_lesions(rng, plane, thin, np.stack(room), count)


def _render(
    seed: int,
    torso: Torso,
    liver: Liver,
    organs: Organs,
    plane: Plane,
    heights: list[float],
    noise_hu: float,
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Return volume and labels, both (slices, rows, columns)."""
    rows, columns = plane.rho.shape
    volume = np.empty((len(heights), rows, columns), np.int16)
    labels = np.zeros(volume.shape, np.uint8)
    edge_mm = float(plane.x[0, 1] - plane.x[0, 0]) * 1.1
    diaphragm = torso.diaphragm(plane)
    outside = _outside(plane)
    noise = np.random.default_rng([seed, 1])
    for index, z in enumerate(heights):
        empty = np.zeros((rows, columns), np.float32)
        canvas = Canvas(plane, z, edge_mm, empty + AIR_HU, empty.copy(), empty)
        within = torso.paint_wall(canvas)
        chest_mm = z - diaphragm
        torso.paint_lungs(canvas, within, chest_mm)
        torso.paint_ribs(canvas)
        organs.paint_sternum(canvas)
        organs.paint_before_liver(canvas, within, chest_mm)
        liver.paint(canvas, within, chest_mm)
        organs.paint_after_liver(canvas, within, chest_mm)
        torso.paint_spine(canvas)
        torso.paint_table(canvas)
        hu = _blur(canvas.hu, 0.2) + _noise(noise, canvas.hu.shape, noise_hu)
        hu[outside] = OUTSIDE_HU
        volume[index] = np.clip(np.rint(hu), OUTSIDE_HU, 3071)
        is_liver = canvas.liver >= 0.5
        labels[index][is_liver] = LIVER
        labels[index][is_liver & (canvas.lesion >= 0.5)] = LESION
    return volume, labels


def _outside(plane: Plane) -> NDArray[np.bool_]:
    """Return where the slice (rows, columns) lies outside the scanner's round field of view."""
    x = (plane.x - plane.x.mean()) / np.ptp(plane.x)
    y = (plane.y - plane.y.mean()) / np.ptp(plane.y)
    outside: NDArray[np.bool_] = x * x + y * y > 0.25
    return outside


def _blur(hu: Array, share: float) -> Array:
    """Give each voxel's in-plane neighbours `share` of its value, along rows and columns."""
    for axis in (0, 1):
        padded = np.pad(hu, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        before, after = (padded[:-2], padded[2:]) if axis == 0 else (padded[:, :-2], padded[:, 2:])
        hu = (1 - 2 * share) * hu + share * (before + after)
    return hu


def _noise(rng: np.random.Generator, shape: tuple[int, ...], sd_hu: float) -> Array:
    """Return noise with the grain of reconstructed CT: neighbours agree."""
    grain = _blur(rng.standard_normal(shape, np.float32), 0.25)
    return grain * np.float32(sd_hu / 0.375)


def _orient(
    volume: NDArray[np.int16],
    labels: NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
    origin: tuple[float, float, float],
    orientation: str,
    seed: int,
) -> Phantom:
    """Turn (slices, rows, columns) that grow to left, posterior, superior into a stored volume."""
    affine = np.diag([-spacing_mm[0], -spacing_mm[1], spacing_mm[2], 1.0])
    affine[:3, 3] = (-origin[0], -origin[1], origin[2])
    stored_hu, stored_labels = volume.transpose(2, 1, 0), labels.transpose(2, 1, 0)
    for axis, flipped in ((0, orientation[0] == "R"), (1, orientation[1] == "A")):
        if flipped:
            stored_hu, stored_labels = np.flip(stored_hu, axis), np.flip(stored_labels, axis)
            affine[:3, 3] += affine[:3, axis] * (stored_hu.shape[axis] - 1)
            affine[:3, axis] *= -1
    return Phantom(stored_hu, stored_labels, affine, seed)


def write_phantom(
    folder: Path, case_id: int | str, phantom: Phantom, *, gzip: bool = True, force: bool = False
) -> tuple[Path, Path]:
    """Write volume-ID and segmentation-ID as LiTS names them; return the two paths.

    The same phantom may exist already. A different file, such as the scan that LiTS has under this
    name, is replaced only with `force`.

    Raises:
        OutputError: a different file exists.
    """
    ending = ".nii.gz" if gzip else ".nii"
    paths = (folder / f"volume-{case_id}{ending}", folder / f"segmentation-{case_id}{ending}")
    with NewFiles() as new:
        write_volume(new.open(paths[0]), phantom.volume_hu, phantom.affine)
        write_volume(new.open(paths[1]), phantom.labels, phantom.affine)
        for path, facts in new.close().items():
            same = matches(path, facts.to_json())
            check_target(path, Inputs(), force=force, ours=same, found="exists with other content")
        new.take_names()
    return paths
