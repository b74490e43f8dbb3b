import pytest
import torch

from lits_train.network.preprocessing import Preprocessing
from lits_train.samples.dataset import Sample
from lits_train.settings.recipe import DEFAULT
from lits_train.training.network_inputs import (
    class_targets,
    network_inputs,
)


def test_soft_labels_are_the_targets() -> None:
    labels = torch.ones(1, 3, 32, 32, dtype=torch.uint8)
    batch = Sample(
        hu=torch.zeros(1, 3, 32, 32),
        range_hu=torch.zeros(1, 3, 2),
        labels=labels,
        shares=torch.full((1, 2, 32, 32), 51, dtype=torch.uint8),
        spacing_mm=torch.ones(1, 3),
        adjacent=torch.ones(1, dtype=torch.bool),
        liver_only=torch.zeros(1, dtype=torch.bool),
        case=torch.zeros(1),
        slice=torch.zeros(1),
    )
    for soft, values in ((False, (1.0, 0.0)), (True, (0.2, 0.2))):
        recipe = DEFAULT.override(size=32, soft_labels=soft)
        _, targets, _ = network_inputs(batch, Preprocessing(recipe), recipe)
        assert targets[0, :, 0, 0].tolist() == pytest.approx(values)


def test_targets_of_the_liver_include_lesions() -> None:
    targets = class_targets(torch.tensor([[0, 1, 2]]), ("liver", "lesion"))
    assert targets.tolist() == [[[0.0, 1.0, 1.0]], [[0.0, 0.0, 1.0]]]
