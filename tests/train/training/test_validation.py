from dataclasses import replace
from pathlib import Path

import numpy as np

from lits_train.data.cases import find_cases, usable_cases
from lits_train.samples.dataset import SliceDataset
from lits_train.settings.recipe import DEFAULT
from lits_train.training.validation import picture_batch


def test_pictures_show_the_fullest_slices_and_none_of_a_lesion_that_is_not_there(
    phantom_folder: Path,
) -> None:
    cases, _ = usable_cases(find_cases(phantom_folder))
    merged = cases[1].label_counts @ np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0]])
    cases[1] = replace(cases[1], label_counts=merged)
    batch = picture_batch(SliceDataset(cases, DEFAULT.override(size=32)), count=4)
    assert batch is not None
    fullest = [case.label_counts.argmax(axis=0)[1:].tolist() for case in cases]
    shown = list(zip(batch["case"].tolist(), batch["slice"].tolist(), strict=True))
    assert shown[:2] == [(0, fullest[0][1]), (2, fullest[2][1])]
    livers = [(case, fullest[case][0]) for case in (0, 1, 2)]
    assert shown[2:] == [pair for pair in livers if pair not in shown[:2]][:2]
