"""Options, completed by what the model says of itself."""

from typing import Any

import numpy as np
import pytest

from lits_runtime import Options, OptionsError, Segmenter
from lits_runtime.model.checked_file import check
from lits_runtime.model.metadata import Postprocessing
from support.files.scans import LPS_AFFINE
from support.networks.tiny_models import tiny_model

ALL = Postprocessing(True, True, 0.5, 0.1)
NONE = Postprocessing()
MODEL = {
    "postprocessing": {
        "keep_largest_liver": True,
        "drop_lesions_outside_liver": True,
        "min_lesion_ml": 0.5,
        "min_liver_contact": 0.1,
    },
    "search_mm": 20,
}

GIVEN: tuple[tuple[dict[str, Any], Postprocessing], ...] = (
    ({}, ALL),
    ({"postprocessing": False}, NONE),
    ({"keep_largest_liver": False}, Postprocessing(False, True, 0.5, 0.1)),
    ({"drop_lesions_outside_liver": False}, Postprocessing(True, False, 0.5, 0.1)),
    ({"min_lesion_ml": 0}, Postprocessing(True, True, 0.0, 0.1)),
    ({"min_lesion_ml": np.float32(2)}, Postprocessing(True, True, 2.0, 0.1)),
    ({"min_liver_contact": 0}, Postprocessing(True, True, 0.5)),
    ({"min_liver_contact": 1}, Postprocessing(True, True, 0.5, 1.0)),
    ({"postprocessing": False, "keep_largest_liver": True}, Postprocessing(True, False, 0.0)),
    ({"postprocessing": False, "min_lesion_ml": 1}, Postprocessing(False, False, 1.0)),
)


@pytest.mark.parametrize(("given", "expected"), GIVEN)
def test_each_step_is_the_callers_or_the_models(
    given: dict[str, Any], expected: Postprocessing
) -> None:
    assert Options(**given).applied(check(tiny_model(MODEL)).metadata).postprocessing == expected


def test_a_model_that_says_nothing_is_left_alone() -> None:
    metadata = check(tiny_model()).metadata
    applied = Options().applied(metadata)
    assert (applied.postprocessing, applied.search_mm) == (NONE, 0)
    assert Options(min_lesion_ml=2).applied(metadata).postprocessing.min_lesion_ml == 2


def test_the_search_is_the_models_unless_it_is_switched_off() -> None:
    metadata = check(tiny_model(MODEL)).metadata
    assert Options().applied(metadata).search_mm == 20
    assert Options(search=False).applied(metadata).search_mm == 0
    assert Options().applied(metadata, with_probability=True).search_mm == 0


@pytest.mark.parametrize("contact", [-0.1, 1.1])
def test_a_contact_that_is_no_fraction_is_refused(contact: float) -> None:
    with pytest.raises(OptionsError, match=f"min_liver_contact {contact}: expected 0 to 1"):
        Options(min_liver_contact=contact).applied(check(tiny_model()).metadata)


@pytest.mark.parametrize(
    "given",
    [
        {"keep_largest_liver": True},
        {"drop_lesions_outside_liver": True},
        {"min_liver_contact": 0.5},
    ],
)
def test_clean_up_by_the_liver_needs_a_model_of_it(given: dict[str, Any]) -> None:
    alone = tiny_model({"classes": ["lesion"], "label_values": [2], "thresholds": [0.5]})
    with pytest.raises(OptionsError, match="clean-up by the liver needs a model with that class"):
        Options(**given).applied(check(alone).metadata)


def test_a_negative_volume_is_refused() -> None:
    with pytest.raises(OptionsError, match="min_lesion_ml -1"):
        Options(min_lesion_ml=-1).applied(check(tiny_model()).metadata)


def test_the_models_post_processing_is_applied_and_reported() -> None:
    volume = np.full((12, 11, 6), -900, np.int16)
    volume[:6, :6, :4] = 60
    volume[2, 2, 2] = volume[9, 9, 5] = 120  # a lesion of one voxel in the liver, one outside
    volume[8:10, :3, 0] = 60  # a smaller liver
    with Segmenter.open(tiny_model(MODEL), provider="cpu") as segmenter:
        result = segmenter.segment((volume, LPS_AFFINE))
        plain = segmenter.segment((volume, LPS_AFFINE), Options(postprocessing=False))
        largest = segmenter.segment((volume, LPS_AFFINE), Options(min_lesion_ml=0))
    expected = np.zeros(volume.shape, np.uint8)
    expected[:6, :6, :4] = 1
    np.testing.assert_array_equal(result.labels, expected)
    expected[2, 2, 2] = 2
    np.testing.assert_array_equal(largest.labels, expected)
    expected[9, 9, 5], expected[8:10, :3, 0] = 2, 1
    np.testing.assert_array_equal(plain.labels, expected)
    names = ("keep_largest_liver", "drop_lesions_outside_liver", "min_lesion_ml")
    assert [result.report.applied[name] for name in names] == [True, True, 0.5]
    assert [plain.report.applied[name] for name in names] == [False, False, 0]
