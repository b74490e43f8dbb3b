"""The scores that the LiTS organisers published for their example, to the last printed digit."""

import pytest

from lits_tools.scores.evaluate import Evaluation, evaluate
from lits_tools.scores.pairs import find_pairs
from support.files.lits_scoring_data import REASON, REFERENCE, SUBMISSION

PUBLISHED = {
    "lesion_dice": "0.490221",
    "lesion_voe": "0.675302",
    "lesion_rvd": "2.079789",
    "lesion_assd_mm": "4.245046",
    "lesion_mssd_mm": "26.807077",
    "challenge_precision_iou50": "0.636",
    "challenge_recall_iou50": "0.583",
    "challenge_precision_iou0": "1.000",
    "challenge_recall_iou0": "0.917",
    "lesion_dice_global": "0.490",
    "liver_dice": "0.971",
    "liver_voe": "0.056",
    "liver_assd_mm": "0.739",
    "liver_mssd_mm": "33.030",
    "burden_rmse": "0.021",
    "burden_max_error": "0.021",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REFERENCE.exists(), reason=REASON),
]


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate(find_pairs(SUBMISSION, REFERENCE))


@pytest.mark.parametrize(("name", "printed"), [*PUBLISHED.items()])
def test_published_score(evaluation: Evaluation, name: str, printed: str) -> None:
    digits = len(printed.partition(".")[2])
    assert f"{evaluation.pooled[name].value:.{digits}f}" == printed


def test_lesions_counted_one_by_one(evaluation: Evaluation) -> None:
    """Eleven predicted and twelve real lesions; three groups with four real ones fail."""
    pooled = evaluation.pooled
    assert pooled["lesion_precision_iou50"].value == pytest.approx(8 / 11)
    assert pooled["lesion_recall_iou50"].value == pytest.approx(8 / 12)
    assert pooled["lesion_recall_iou0"].value == 1
