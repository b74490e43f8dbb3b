"""Grids: which affines are one of a volume, and what two of them have in common."""

import pickle
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from lits_runtime import VolumeError
from lits_runtime.volumes.geometry import Geometry
from lits_runtime.volumes.scan import Scan
from support.files.scans import AXIS_CODES, LPS_AFFINE, load_nifti, random_hu, reorient

Affine = NDArray[np.float64]


def with_entry(row: int, column: int, value: float) -> Affine:
    affine = np.diag([-0.7, -0.8, 2.5, 1.0])
    affine[row, column] = value
    return affine


def of_axes(*axes: tuple[float, float, float]) -> Affine:
    affine = np.eye(4)
    affine[:3, :3] = np.array(axes).T
    return affine


SINGULAR = {
    "two axes alike": np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    "nearly alike": of_axes((1, 1, 0), (1, 1 + 1e-6, 0), (0, 0, 1)),
    "5 degrees apart": of_axes((1, 0, 0), (0.996, 0.087, 0), (0, 0, 1)),
    "in a plane": of_axes((1, 0, 0), (0, 1, 0), (1, 1, 0.01)),
    "nothing": np.diag([0.0, 0, 0, 1]),
    "no slice axis": with_entry(2, 2, 0.0),
    "not a number": with_entry(1, 3, np.nan),
    "infinite": with_entry(0, 0, -np.inf),
    "tiny voxels": with_entry(2, 2, 1e-30),
    "huge voxels": with_entry(2, 2, 1e12),
    "far away": with_entry(0, 3, 1e12),
    "overflow": with_entry(0, 0, 1e300),
}
NOT_OF_A_FILE: dict[str, Any] = {
    "last row": with_entry(3, 0, 0.5),
    "last entry": with_entry(3, 3, 0.0),
    "words": np.full((4, 4), "1"),
    "complex": np.eye(4) + 1j,
    "truth values": np.eye(4, dtype=bool),
    "objects": np.eye(4).astype(object),
    "ragged": [[1, 0, 0, 0], [0, 1]],
    "three rows": np.eye(4)[:3],
    "nothing at all": None,
}


@pytest.mark.parametrize("name", [*SINGULAR, *NOT_OF_A_FILE])
def test_an_affine_that_is_none_is_refused_from_every_source(name: str, tmp_path: Path) -> None:
    affine = SINGULAR[name] if name in SINGULAR else NOT_OF_A_FILE[name]
    with pytest.raises(VolumeError, match="affine"):
        Geometry((4, 4, 4), affine)
    with pytest.raises(VolumeError, match="affine"):
        Scan.open((random_hu((4, 4, 4)), affine))
    if name not in SINGULAR or abs(affine).max() > 1e38:
        return
    image = nib.Nifti1Image(random_hu((4, 4, 4)), np.eye(4))
    image.header.set_sform(affine, 2)
    path = tmp_path / "scan.nii"
    nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj), None, image.header), path)
    for source in (path, load_nifti(path)):
        with pytest.raises(VolumeError, match=r"scan\.nii: .*affine.*repair the header's sform"):
            Scan.open(source)


@pytest.mark.parametrize("degrees", [-30, -15, 0, 30])
def test_tilted_gantries_and_obliques_are_grids(degrees: float) -> None:
    tilt = np.tan(np.deg2rad(degrees))
    angle = np.deg2rad(degrees * 1.2)
    turn = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    sheared = of_axes((-0.7, 0, 0), (0, -0.7, 0), (0, 5 * tilt, 5))
    sheared[:3, :3] = np.roll(np.array(turn), 1, (0, 1)) @ sheared[:3, :3]
    assert Geometry((9, 9, 9), sheared).voxel_ml == pytest.approx(0.7 * 0.7 * 5 / 1000)


def test_a_shape_is_three_sizes() -> None:
    shapes: list[Any] = [(4, 4), (4, 4, 0), (4, 4, 4.5), None, "abc"]
    for shape in shapes:
        with pytest.raises(VolumeError, match="shape"):
            Geometry(shape, LPS_AFFINE)
    assert Geometry((np.int64(4), 4, 4), LPS_AFFINE).shape == (4, 4, 4)  # type: ignore[arg-type]


def test_geometries_compare_hash_and_pickle() -> None:
    one = Geometry((4, 5, 6), LPS_AFFINE)
    copy = Geometry((4, 5, 6), LPS_AFFINE.copy())
    zeros, minus = np.diag([1.0, 1, 1, 1]), np.diag([1.0, 1, 1, 1])
    minus[0, 1] = -0.0
    assert one == copy
    assert Geometry((4, 5, 6), zeros) == Geometry((4, 5, 6), minus)
    assert len({one, copy, Geometry((4, 5, 6), zeros), Geometry((4, 5, 6), minus)}) == 2
    assert one != Geometry((4, 5, 7), LPS_AFFINE)
    assert one != "grid"
    assert one.voxel_ml > 0  # worked out and kept
    again = pickle.loads(pickle.dumps(one))
    assert again == one
    for geometry in (one, again):
        for affine in (geometry.affine, geometry.canonical_affine):
            with pytest.raises(ValueError, match="read-only"):
                affine[0, 0] = 3


def test_the_affine_is_the_geometry_s_own() -> None:
    affine = LPS_AFFINE.copy()
    geometry = Geometry((4, 5, 6), affine)
    affine[0, 0] = 99
    assert geometry.affine[0, 0] == LPS_AFFINE[0, 0]


@pytest.mark.parametrize("codes", AXIS_CODES)
def test_same_grid_in_every_axis_order(codes: str) -> None:
    one = Geometry((7, 6, 5), LPS_AFFINE)
    volume, affine = reorient(random_hu((7, 6, 5)), LPS_AFFINE, codes)
    i, j, k = volume.shape
    other = Geometry((i, j, k), affine)
    assert one.same_grid(other)
    assert other.same_grid(one)
    assert (one == other) == (codes == "LPS")
    assert other.voxel_ml == one.voxel_ml
    assert other.canonical_spacing_mm == one.canonical_spacing_mm


def test_grids_apart() -> None:
    one = Geometry((7, 6, 5), LPS_AFFINE)
    moved, turned = LPS_AFFINE.copy(), LPS_AFFINE.copy()
    moved[0, 3] += 0.05
    turned[:3, 0] *= -1
    assert one.apart_mm(Geometry((7, 6, 5), moved)) == pytest.approx(0.05)
    assert one.same_grid(Geometry((7, 6, 5), moved))
    assert not one.same_grid(Geometry((7, 6, 5), moved), tolerance_mm=0.01)
    assert not one.same_grid(Geometry((7, 6, 5), turned))
    assert not one.same_grid(Geometry((7, 6, 6), LPS_AFFINE))
    assert one.apart_mm(Geometry((7, 6, 6), LPS_AFFINE)) == np.inf
