"""The distance of the interpolation: scores are those of the runtime, and rule of the choice."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from lits_runtime import Segmenter
from lits_runtime.labels import MASKS
from lits_runtime.volumes.label_volume import read_labels
from lits_tools.bundled.folds.left_out import ModelLabeller
from lits_train.data.cases import find_cases
from lits_train.run.distributed import World
from lits_train.settings.inference import Inference
from lits_train.validation.case_scores import SEARCHES, CaseScores, Counts
from lits_train.validation.full_resolution import score_interpolation
from lits_train.validation.interpolation import INTERPOLATION_MM, choose_interpolation
from lits_train.validation.tables import interpolation_table
from support.files.scans import reorient
from support.networks.tiny_models import positional_model

INFERENCE = Inference((0.5, 0.5), keep_largest_liver=True, min_lesion_ml=0.01)
DISTANCES = (0.0, *INTERPOLATION_MM)


def model(interpolation_mm: float) -> Segmenter:
    metadata: dict[str, object] = {"interpolation_mm": interpolation_mm}
    return Segmenter.open(positional_model(metadata), provider="cpu", threads=1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Blocks in noise, of 1, 1.5, 2 and 5 mm slices, in several orientations."""
    for number, (slice_mm, codes) in enumerate([(1, "LPS"), (1.5, "RAI"), (2, "LPI"), (5, "LPS")]):
        rng = np.random.default_rng(number)
        hu = rng.integers(-200, 0, (24, 20, 21)).astype(np.int16)
        hu[4:18, 4:16, 3:17] += 200
        hu[8:12, 7:11, 7:14] += 100
        gt = np.zeros(hu.shape, np.int16)
        gt[4:18, 4:16, 3:17] = 1
        gt[8:12, 7:11, 7:14] = 2
        for kind, volume in (("volume", hu), ("segmentation", gt)):
            stored, affine = reorient(volume, np.diag([-0.8, -0.8, slice_mm, 1.0]), codes)
            nib.save(nib.Nifti1Image(stored, affine), tmp_path / f"{kind}-{number}.nii")
    return tmp_path


def test_scores_are_those_of_the_runtime_s_masks_before_clean_up(
    data: Path, tmp_path: Path
) -> None:
    with model(0.0) as segmenter:
        scores = score_interpolation(
            *(ModelLabeller(segmenter), find_cases(data), INFERENCE, tmp_path / "kept"),
            World(torch.device("cpu")),
        )
    assert scores is not None
    assert [case.case_id for case in scores] == ["0", "1", "2"], "5 mm is never interpolated"
    changed = 0
    for index, distance_mm in enumerate(DISTANCES):
        with model(distance_mm) as segmenter:
            for case in scores:
                pred = segmenter.segment(data / f"volume-{case.case_id}.nii").labels
                gt = read_labels(data / f"segmentation-{case.case_id}.nii").labels
                gt = segmenter.segment(data / f"volume-{case.case_id}.nii").geometry.from_canonical(
                    gt
                )
                for name, mask in MASKS.items():
                    expected = (
                        2 * (mask(pred) & mask(gt)).sum() / (mask(pred).sum() + mask(gt).sum())
                    )
                    assert case.dice(index)[name] == pytest.approx(expected), (distance_mm, name)
                changed += not case.same(0, index)
    assert changed >= 10
    table = interpolation_table(scores)
    assert len(table.splitlines()) == 2 + len(INTERPOLATION_MM) and "4 mm" in table


def case(fallen: float, *, lost: int = 0, changed: bool = True) -> CaseScores:
    """Of which all distances change the liver by some voxels of 10,000, up or down."""
    right = 5000

    def counts(fewer: float, found: int, more: int) -> Counts:
        liver, lesion = [10_000 + more, 10_000 - int(fewer)], [right, right]
        voxels = np.tile([liver, lesion], (len(SEARCHES), 1, 1)).astype(np.int64)
        return Counts(voxels, [(found, 20)] + [(0, 0)] * 3, [(0, 0)] * 4)

    plain, other = counts(0, 20, 0), counts(fallen, 20 - lost, int(changed))
    return CaseScores("1", True, ("liver", "lesion"), 1.0, (10_000, right), (plain, *[other] * 5))


def test_the_widest_distance_that_costs_nothing_on_average() -> None:
    assert choose_interpolation([case(0)] * 5) == INTERPOLATION_MM[-1]
    assert choose_interpolation([case(30), *[case(0)] * 4]) == INTERPOLATION_MM[-1]
    assert choose_interpolation([case(30)] * 5) == 0


def test_few_cases_that_change_allow_nothing() -> None:
    unchanged = [case(0, changed=False)] * 9
    assert choose_interpolation([]) == choose_interpolation(unchanged) == 0
    assert choose_interpolation([*unchanged, *[case(0)] * 4]) == 0


def test_cases_that_do_not_change_hide_no_loss() -> None:
    assert choose_interpolation([*[case(0, changed=False)] * 50, *[case(30)] * 5]) == 0


def test_lesions_are_not_lost() -> None:
    assert choose_interpolation([case(0, lost=1)] * 5) == INTERPOLATION_MM[-1]
    assert choose_interpolation([case(0, lost=2)] * 5) == 0


def test_no_distance_beyond_one_that_costs_something() -> None:
    scores = [case(0)] * 5
    for index, widest in ((1, 0.0), (3, INTERPOLATION_MM[1]), (5, INTERPOLATION_MM[3])):
        broken = [
            replace(one, counts=(*one.counts[:index], case(30).counts[1], *one.counts[index + 1 :]))
            for one in scores
        ]
        assert choose_interpolation(broken) == widest
