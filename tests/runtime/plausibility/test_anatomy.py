"""What was found is judged as a liver: its place, its parts, its size and its values."""

import numpy as np
import pytest
from numpy.typing import NDArray

from lits_runtime.plausibility.anatomy import Found, result_warnings
from lits_runtime.plausibility.overview import Overview
from lits_runtime.volumes.geometry import Geometry


def trunk() -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Lungs over a liver on the right, a spine at the back: (slices, height, width)."""
    hu = np.full((40, 64, 64), -1000, np.float32)
    labels = np.zeros((40, 64, 64), np.uint8)
    hu[:, 12:52, 6:58] = 40
    hu[:, 40:48, 28:36] = 600
    hu[24:, 18:36, 12:28] = hu[24:, 18:36, 36:52] = -850
    hu[8:30, 18:38, 10:30] = 100
    labels[8:30, 18:38, 10:30] = 1
    return hu, labels


def told(
    hu: NDArray[np.float32], labels: NDArray[np.uint8], liver_ml: float = 1500, lesions: int = 3
) -> str:
    overview = Overview(Geometry((64, 64, 40), np.diag([-6.0, -6, 6, 1])))
    overview.put_hu(0, overview.sample(0, hu))
    overview.put_labels(0, labels)
    return " | ".join(result_warnings(overview, Found(liver_ml, lesions, cut=False)))


def test_a_liver_in_its_place_passes() -> None:
    assert told(*trunk()) == ""


@pytest.mark.parametrize(
    ("axis", "words"),
    [
        (2, "the liver is on the patient's left"),
        (1, "the bones are in front"),
        (0, "the lungs are below the liver"),
    ],
)
def test_a_lost_flip_is_told(axis: int, words: str) -> None:
    hu, labels = trunk()
    warnings = told(np.flip(hu, axis), np.flip(labels, axis))
    assert words in warnings
    assert " | " not in warnings


def test_what_is_no_liver_is_told_by_size_parts_and_values() -> None:
    hu, labels = trunk()
    assert told(hu, np.zeros_like(labels), 0).startswith("no liver was found")
    assert told(hu, labels, 60).startswith("a liver of 60 ml, expected 100 to 6000")
    assert told(hu, labels, 7000).startswith("a liver of 7000 ml")
    assert told(hu, labels, 1500, 201).startswith("201 lesions: noise")
    assert "the segmented liver has 1100 HU on average" in told(hu + 1000, labels)
    labels[16:22] = 0
    assert "the liver is in 2 parts, the largest with 50 % of it" in told(hu, labels)
    labels[10:12, 14:54, 8:56:16] = 1
    assert "parts" in told(hu, labels)


def test_a_small_liver_at_the_edge_of_the_field_of_view_is_only_cut() -> None:
    hu, labels = trunk()
    overview = Overview(Geometry((64, 64, 40), np.diag([-6.0, -6, 6, 1])))
    overview.put_hu(0, overview.sample(0, hu))
    overview.put_labels(0, labels)
    assert result_warnings(overview, Found(60, 3, cut=True)) == []
