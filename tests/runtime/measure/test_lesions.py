import cc3d
import numpy as np
import pytest
from numpy.typing import NDArray

from lits_runtime.measure.diameter import longest_diameters_mm
from lits_runtime.measure.lesions import MAX_LESIONS, Lesion, LesionTracker
from lits_runtime.volumes.scan import Geometry

SPACING = np.diag([-2.0, -3.0, 5.0, 1.0])
SPACING[:3, 3] = 100, 200, 300


def track(
    labels: NDArray[np.uint8],
    hu: NDArray[np.float32] | None = None,
    probability: NDArray[np.float32] | None = None,
    affine: NDArray[np.float64] = SPACING,
    down: bool = False,
) -> tuple[Lesion, ...]:
    """Lesions of canonical labels (slices, height, width) stored as LPS."""
    slices, height, width = labels.shape
    tracker = LesionTracker(Geometry((width, height, slices), affine))
    for index in range(slices)[:: -1 if down else 1]:
        tracker.add(
            index,
            labels[index],
            np.zeros((height, width), np.float32) if hu is None else hu[index],
            None if probability is None else probability[index],
        )
    lesions, count = tracker.lesions()
    assert count >= len(lesions)
    return lesions


def test_a_box_measured_by_hand() -> None:
    labels = np.zeros((4, 8, 9), np.uint8)
    labels[1:3, 2:4, 3:7] = 2  # 2 slices of 5 mm, 2 rows of 3 mm, 4 columns of 2 mm
    hu = np.zeros(labels.shape, np.float32)
    hu[1], hu[2] = 40, 60
    probability = np.full(labels.shape, 0.5, np.float32)
    probability[2, 3, 6] = 1.0
    (lesion,) = track(labels, hu, probability)
    assert lesion.volume_ml == pytest.approx(16 * 30 / 1000)
    assert lesion.longest_axial_diameter_mm == pytest.approx(np.hypot(2 * 3, 4 * 2))
    assert lesion.equivalent_sphere_diameter_mm == pytest.approx((6 * 480 / np.pi) ** (1 / 3))
    # Centre: column 4.5, row 2.5, slice 1.5.
    assert lesion.centroid_mm == pytest.approx((100 - 9, 200 - 7.5, 300 + 7.5))
    assert lesion.slices == (1, 2)
    assert lesion.mean_hu == pytest.approx(50)
    assert lesion.sd_hu == pytest.approx(10)
    assert lesion.mean_probability == pytest.approx((15 * 0.5 + 1) / 16)
    assert lesion.largest_probability == 1.0


def test_slices_and_centroid_are_those_of_the_stored_axis() -> None:
    labels = np.zeros((6, 4, 4), np.uint8)
    labels[1, 1, 2] = 2
    feet_last = SPACING.copy()
    feet_last[2, 2] = -5
    (lesion,) = track(labels, affine=feet_last, down=True)
    assert lesion.slices == (4, 4)
    assert lesion.centroid_mm == pytest.approx((100 - 4, 200 - 3, 300 - 20))
    assert lesion.mean_probability is None
    assert lesion.largest_probability is None


def test_branches_that_meet_later_are_one_lesion_and_corners_do_not_connect() -> None:
    labels = np.zeros((3, 5, 5), np.uint8)
    labels[0, 2, 0] = labels[0, 2, 4] = 2
    labels[1, 2, 0] = labels[1, 2, 4] = 2
    labels[2, 2, :] = 2
    assert [lesion.volume_ml for lesion in track(labels)] == pytest.approx([9 * 0.03])
    labels[2, 2, :] = 0
    labels[2, 1, 0] = 2  # touches an edge only
    assert len(track(labels)) == 3


def test_no_lesions() -> None:
    assert track(np.ones((3, 4, 4), np.uint8)) == ()


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_slice_by_slice_agrees_with_components_of_the_whole(seed: int, down: bool) -> None:
    rng = np.random.default_rng(seed)
    labels = (2 * (rng.random((7, 12, 13)) < 0.35)).astype(np.uint8)
    hu = rng.normal(50, 20, labels.shape).astype(np.float32)
    components = cc3d.connected_components(labels == 2, connectivity=6)
    lesions = track(labels, hu, down=down)
    assert len(lesions) == components.max()
    expected = []
    for number in range(1, components.max() + 1):
        where = components == number
        slices = np.flatnonzero(where.any((1, 2)))
        expected.append(
            (int(where.sum()), float(hu[where].mean()), int(slices[0]), int(slices[-1]))
        )
    found = [(round(lesion.volume_ml / 0.03), lesion.mean_hu, *lesion.slices) for lesion in lesions]
    np.testing.assert_allclose(sorted(found), sorted(expected), rtol=1e-5)


def test_specks_are_counted_but_only_the_largest_are_kept() -> None:
    labels = np.zeros((3, 200, 200), np.uint8)
    labels[1, ::2, ::2] = 2
    labels[1, 0, 0:3] = 2
    tracker = LesionTracker(Geometry((200, 200, 3), SPACING))
    for index in range(3):
        tracker.add(index, labels[index], np.zeros((200, 200), np.float32))
    lesions, count = tracker.lesions()
    assert count == 100 * 100 - 1
    assert len(lesions) == MAX_LESIONS
    assert lesions[0].volume_ml == pytest.approx(3 * 0.03)


@pytest.mark.parametrize("shape", [(7, 9), (40, 30)])
@pytest.mark.parametrize("seed", range(10))
def test_longest_diameters_are_those_of_all_pairs_of_corners(
    seed: int, shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    regions = cc3d.connected_components(rng.random(shape) < 0.55, connectivity=4)
    step_mm = np.array([[0.7, 0.1], [0.0, 1.3], [0.2, 0.0]])
    found = longest_diameters_mm(regions[None], step_mm)
    expected = []
    for number in range(1, regions.max() + 1):
        pixels = np.argwhere(regions == number)[:, ::-1]
        corners = np.concatenate([pixels + np.array((a, b)) for a in (0, 1) for b in (0, 1)])
        points = np.unique(corners, axis=0) @ step_mm.T
        expected.append(np.linalg.norm(points[:, None] - points[None], axis=2).max())
    np.testing.assert_allclose(found, expected)
