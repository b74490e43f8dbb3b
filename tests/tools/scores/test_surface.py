import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from lits_tools.scores.surface import (
    FACES,
    FACES_AND_EDGES,
    nearest_by_transform,
    nearest_by_tree,
    surface,
    surface_distances,
    surface_scores,
)
from lits_tools.scores.surface_dice import surface_dice, surfel_areas

Mask = NDArray[np.bool_]
SPACING = (5.0, 2.0, 1.0)


def box(shape: tuple[int, ...], low: tuple[int, ...], high: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def ball(radius_mm: float, spacing_mm: tuple[float, float, float], size: int = 61) -> Mask:
    axes = [(np.arange(size) - size // 2) * mm for mm in spacing_mm]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    inside: Mask = z**2 + y**2 + x**2 <= radius_mm**2
    return inside


@pytest.mark.parametrize(("axis", "mm"), [*enumerate(SPACING)])
def test_planes_are_apart_by_the_spacing_of_their_axis(axis: int, mm: float) -> None:
    one = np.zeros((9, 9, 9), bool)
    one[tuple(2 if a == axis else slice(None) for a in range(3))] = True
    other = np.roll(one, 3, axis)
    scores = surface_scores(one, other, SPACING)
    expected = pytest.approx(3 * mm)
    assert scores.assd_mm == scores.rmsd_mm == scores.mssd_mm == scores.hd95_mm == expected


def test_longer_bar_by_hand() -> None:
    """A bar of 10 voxels against its first 6: four voxels lie 1, 2, 3 and 4 mm away."""
    bar = box((3, 3, 14), (1, 1, 1), (2, 2, 11))
    short = box((3, 3, 14), (1, 1, 1), (2, 2, 7))
    scores = surface_scores(bar, short, (1, 1, 1))
    assert scores.assd_mm == pytest.approx(10 / 16)
    assert scores.rmsd_mm == pytest.approx(math.sqrt(30 / 16))
    assert scores.mssd_mm == 4
    assert scores.hd95_mm == pytest.approx(3.25)  # between the 15th and 16th of 16 values


def test_surfaces_of_six_and_eighteen_neighbours() -> None:
    """A 5-cube without one edge voxel: its neighbour across the edge is seen by 18 only."""
    cube = box((7, 7, 7), (1, 1, 1), (6, 6, 6))
    assert surface(cube, FACES).sum() == surface(cube, FACES_AND_EDGES).sum() == 125 - 27
    cube[1, 1, 3] = False
    assert not surface(cube, FACES)[2, 2, 3]
    assert surface(cube, FACES_AND_EDGES)[2, 2, 3]


def test_the_edge_of_the_array_is_surface() -> None:
    assert surface(np.ones((3, 3, 3), bool), FACES).sum() == 26


def test_concentric_balls() -> None:
    """Radii 20 and 14 mm: surfaces 6 mm apart, to within the voxels' half diagonals."""
    spacing = (2.0, 1.0, 1.0)
    scores = surface_scores(ball(20, spacing), ball(14, spacing), spacing)
    for value in (scores.assd_mm, scores.rmsd_mm, scores.hd95_mm, scores.mssd_mm):
        assert value == pytest.approx(6, abs=math.sqrt(6) / 2)
    assert scores.assd_mm <= scores.rmsd_mm <= scores.mssd_mm
    assert scores.hd95_mm <= scores.mssd_mm


def test_scores_do_not_depend_on_empty_space_around() -> None:
    rng = np.random.default_rng(0)
    pred, gt = rng.random((2, 8, 9, 10)) > 0.7
    wide_pred, wide_gt = (np.pad(mask, ((3, 4), (5, 1), (2, 2))) for mask in (pred, gt))
    assert surface_scores(wide_pred, wide_gt, SPACING) == surface_scores(pred, gt, SPACING)
    wide_dice = surface_dice(wide_pred, wide_gt, SPACING, (1, 3))
    assert wide_dice == surface_dice(pred, gt, SPACING, (1, 3))


@pytest.mark.parametrize("nearest", [nearest_by_transform, nearest_by_tree])
def test_nearest_is_the_nearest(nearest: Callable[..., NDArray[np.float64]]) -> None:
    rng = np.random.default_rng(1)
    points, targets = rng.random((2, 7, 8, 9)) > 0.9
    places = [np.argwhere(mask) * np.array(SPACING) for mask in (points, targets)]
    apart = np.linalg.norm(places[0][:, None] - places[1][None], axis=2).min(axis=1)
    np.testing.assert_allclose(nearest(points, targets, SPACING), apart, rtol=1e-6)


def test_empty_masks() -> None:
    empty, full = np.zeros((3, 3, 3), bool), np.ones((3, 3, 3), bool)
    assert all(math.isnan(v) for v in vars(surface_scores(empty, empty, SPACING)).values())
    for pred, gt in ((empty, full), (full, empty)):
        assert all(v == math.inf for v in vars(surface_scores(pred, gt, SPACING)).values())
        assert surface_dice(pred, gt, SPACING, (1, 3)) == (0, 0)
    assert surface_dice(empty, empty, SPACING, (1, 3)) == (1, 1)
    distances = surface_distances(empty, full, SPACING)
    assert len(distances.pred_to_gt) == 0
    assert len(distances.gt_to_pred) == 26


def test_surfel_areas_by_hand() -> None:
    across_z = surfel_areas(SPACING)[0b00001111]
    assert across_z == pytest.approx(2.0 * 1.0), "a flat piece: the row by the column spacing"
    corner = surfel_areas((1, 1, 1))[1]
    assert corner == pytest.approx(math.sqrt(3) / 8), "triangle of sides 1 / sqrt(2)"
    assert surfel_areas((1, 1, 1))[[0, 255]].sum() == 0
    np.testing.assert_array_equal(surfel_areas(SPACING), surfel_areas(SPACING)[::-1])


def test_surface_dice_of_a_shifted_slab() -> None:
    """A slab through the whole array, moved by one voxel of 2 mm: apart at 1 mm, equal at 2."""
    slab = box((9, 12, 9), (0, 4, 0), (9, 8, 9))
    moved = np.roll(slab, 1, axis=1)
    near, far = surface_dice(slab, moved, SPACING, (1.9, 2.0))
    assert far == 1
    assert 0 < near < 0.6, "only the sides on the array's edge agree"
