"""The optional keys of a model's metadata: what they mean, and what is refused in them."""

import json
from typing import Any

import pytest

from lits_runtime import ModelError
from lits_runtime.model.checked_file import check
from lits_runtime.model.metadata import ModelMetadata, Postprocessing
from support.networks.tiny_models import tiny_model

STEPS = {
    "keep_largest_liver": True,
    "drop_lesions_outside_liver": True,
    "min_lesion_ml": 0.05,
    "min_liver_contact": 0.5,
}
LESION_ALONE = {"classes": ["lesion"], "label_values": [2], "thresholds": [0.5]}

HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "list": ({"postprocessing": []}, "wrong postprocessing"),
    "null": ({"postprocessing": None}, "wrong postprocessing"),
    "text": ({"postprocessing": "keep_largest_liver"}, "wrong postprocessing"),
    "flag of 1": ({"postprocessing": {"keep_largest_liver": 1}}, "wrong keep_largest_liver"),
    "flag of null": (
        {"postprocessing": {"drop_lesions_outside_liver": None}},
        "wrong drop_lesions_outside_liver",
    ),
    "volume of text": ({"postprocessing": {"min_lesion_ml": "1"}}, "wrong min_lesion_ml"),
    "volume of bool": ({"postprocessing": {"min_lesion_ml": True}}, "wrong min_lesion_ml"),
    "volume of NaN": ({"postprocessing": {"min_lesion_ml": float("nan")}}, "wrong min_lesion_ml"),
    "endless volume": ({"postprocessing": {"min_lesion_ml": 1e400}}, "wrong min_lesion_ml"),
    "negative volume": ({"postprocessing": {"min_lesion_ml": -1}}, "min_lesion_ml -1"),
    "a whole patient": ({"postprocessing": {"min_lesion_ml": 1e5}}, "expected 0 to 1000"),
    "contact of text": ({"postprocessing": {"min_liver_contact": "1"}}, "wrong min_liver_contact"),
    "more than all contact": ({"postprocessing": {"min_liver_contact": 1.5}}, "expected 0 to 1"),
    "distance of text": ({"search_mm": "20"}, "wrong search_mm"),
    "distance of null": ({"search_mm": None}, "wrong search_mm"),
    "distance of bool": ({"search_mm": True}, "wrong search_mm"),
    "distance of NaN": ({"search_mm": float("nan")}, "wrong search_mm"),
    "negative distance": ({"search_mm": -0.1}, "search_mm -0.1"),
    "a great distance": ({"search_mm": 10**18}, "expected 0 to 1000"),
    "distances": ({"search_mm": [20]}, "wrong search_mm"),
    "interpolation of text": ({"interpolation_mm": "4"}, "wrong interpolation_mm"),
    "negative interpolation": ({"interpolation_mm": -1}, "interpolation_mm -1"),
    "search without liver": (LESION_ALONE | {"search_mm": 20}, "by the liver"),
    "largest without liver": (
        LESION_ALONE | {"postprocessing": {"keep_largest_liver": True}},
        "by the liver",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_values_are_refused(name: str) -> None:
    entries, message = HOSTILE[name]
    with pytest.raises(ModelError, match=message):
        check(tiny_model(entries))


def test_a_file_without_the_keys_has_neither_post_processing_nor_search() -> None:
    metadata = check(tiny_model()).metadata
    assert metadata.postprocessing == Postprocessing(False, False, 0.0)
    assert metadata.search_mm == 0


def test_what_is_written_is_read() -> None:
    metadata = check(tiny_model({"postprocessing": STEPS, "search_mm": 20})).metadata
    assert metadata.postprocessing == Postprocessing(True, True, 0.05, 0.5)
    assert metadata.search_mm == 20
    assert ModelMetadata.from_json(metadata.to_json()) == metadata
    assert json.loads(metadata.to_json())["postprocessing"] == STEPS


def test_absent_steps_are_off_and_those_of_later_runtimes_are_ignored() -> None:
    entries: dict[str, Any] = {"postprocessing": {"min_lesion_ml": 1, "fill_holes": True}}
    metadata = check(tiny_model(entries)).metadata
    assert metadata.postprocessing == Postprocessing(min_lesion_ml=1.0)
    without = LESION_ALONE | entries
    assert check(tiny_model(without)).metadata.postprocessing.cleans_up
