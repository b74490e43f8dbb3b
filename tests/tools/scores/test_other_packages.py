"""The same masks through MedPy and surface-distance, on random anisotropic and on real ones."""

import numpy as np
import pytest
from medpy.metric import binary as medpy
from numpy.typing import NDArray
from scipy import ndimage
from surface_distance import (
    compute_surface_dice_at_tolerance,
    compute_surface_distances,
    lookup_tables,
)

from lits_runtime.phantom.ct import make_phantom
from lits_runtime.volumes.label_volume import read_labels
from lits_tools.scores.overlap import bounding_box, overlap
from lits_tools.scores.surface import FACES, FACES_AND_EDGES, surface_distances, surface_scores
from lits_tools.scores.surface_dice import surface_dice, surfel_areas
from support.files.lits_scoring_data import REFERENCE, SUBMISSION

Masks = tuple[NDArray[np.bool_], NDArray[np.bool_], tuple[float, float, float]]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Please import .* from the .scipy.ndimage. namespace"),
]


def blobs(seed: int) -> Masks:
    rng = np.random.default_rng(seed)
    spacing = tuple(rng.uniform(0.5, 5, 3).tolist())
    field = ndimage.gaussian_filter(rng.standard_normal((2, 14, 22, 26)), (0, 1.5, 2, 2))
    noise = 0.6 * field[1] + 0.4 * field[0]
    return field[0] > 0.02, noise > 0.03, spacing


def real() -> Masks:
    """The organisers' lesions where they are at hand, else a phantom's with two voxels moved."""
    if REFERENCE.exists():
        pred, gt = read_labels(SUBMISSION), read_labels(REFERENCE)
        box = bounding_box(pred.labels == 2, gt.labels == 2)  # MedPy takes all voxels, and long
        return pred.labels[box] == 2, gt.labels[box] == 2, gt.spacing_mm
    labels = make_phantom(3, matrix=96, slices=24, lesions=3).labels.T
    return np.roll(labels == 2, (1, 2), (0, 2)), labels == 2, (10.0, 4.2, 4.2)


@pytest.fixture(scope="module", params=[0, 1, 2, 3, "real"])
def masks(request: pytest.FixtureRequest) -> Masks:
    return real() if request.param == "real" else blobs(request.param)


def test_medpy(masks: Masks) -> None:
    pred, gt, mm = masks
    counts, scores = overlap(pred, gt), surface_scores(pred, gt, mm)
    assert counts.dice == pytest.approx(medpy.dc(pred, gt))
    assert counts.voe == pytest.approx(1 - medpy.jc(pred, gt))
    assert counts.rvd == pytest.approx(medpy.ravd(pred, gt))
    assert scores.mssd_mm == pytest.approx(medpy.hd(pred, gt, mm))
    assert scores.hd95_mm == pytest.approx(medpy.hd95(pred, gt, mm))


@pytest.mark.parametrize("neighbours", [FACES, FACES_AND_EDGES])
def test_medpy_means_of_both_directions(masks: Masks, neighbours: int) -> None:
    """MedPy's ASSD is the mean of the two means; the organisers', and ours, is over all voxels."""
    pred, gt, mm = masks
    found = surface_distances(pred, gt, mm, neighbours=neighbours)
    steps = {FACES: 1, FACES_AND_EDGES: 2}[neighbours]
    there, back = medpy.asd(pred, gt, mm, steps), medpy.asd(gt, pred, mm, steps)
    assert found.pred_to_gt.mean() == pytest.approx(there)
    assert found.gt_to_pred.mean() == pytest.approx(back)
    weights = [len(found.pred_to_gt), len(found.gt_to_pred)]
    assert found.both.mean() == pytest.approx(np.average([there, back], weights=weights))


def test_surface_distance(masks: Masks) -> None:
    pred, gt, mm = masks
    theirs = compute_surface_distances(gt, pred, mm)
    ours = surface_dice(pred, gt, mm, (1.0, 3.0))
    for tolerance, dice in zip((1.0, 3.0), ours, strict=True):
        assert dice == pytest.approx(compute_surface_dice_at_tolerance(theirs, tolerance))


@pytest.mark.parametrize("spacing", [(1, 1, 1), (5, 0.7, 0.7), (3, 2, 1)])
def test_surfel_areas(spacing: tuple[float, float, float]) -> None:
    """All 256 cells; the bits of a code are in the opposite order."""
    theirs = lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
    reverse = [int(f"{code:08b}"[::-1], 2) for code in range(256)]
    np.testing.assert_allclose(surfel_areas(spacing), theirs[reverse])
