import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import regnet_y_400mf

from lits_runtime import CheckpointError
from lits_train.network.checkpoint import load_checkpoint
from lits_train.network.foreign_weights import Given
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.settings.overrides import override
from lits_train.settings.recipe import BASELINE, DEFAULT, RECIPES
from support.foreign_networks import (
    KINDS,
    MEAN,
    NARROW,
    STD,
    Kind,
    NotebookNetwork,
    RowNetwork,
    alive,
    enlarging_row,
    save,
    transposed_row,
)


def given_for(kind: Kind) -> Given:
    stated = dict(kind.stated)
    recipe = override(RECIPES[stated.pop("recipe", "baseline")], stated)
    return Given(recipe, **kind.given)


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", KINDS)
def test_weights_of_each_kind_give_what_their_own_network_gives(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kind = KINDS[name]
    torch.manual_seed(len(name))
    network = alive(kind.network())
    path = save(kind, network, tmp_path)
    with caplog.at_level(logging.DEBUG, "lits_train"):
        loaded = load_checkpoint(path, given_for(kind))
    scaled = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        expected = network((scaled - MEAN) / STD)
        found = loaded.network()(scaled)
    assert found.shape == expected.shape
    assert expected.std() > 0
    assert relative(found, expected) < kind.tolerance
    told, assumed, *_ = (record.message for record in caplog.records)
    assert told.startswith(f"{path.name}: weights alone")
    assert "128 x 128" in assumed or "recipe" in kind.given.get("stated", ())
    assert "RegNetY-400MF" in caplog.records[-1].message  # the table


def test_there_are_twenty_kinds() -> None:
    assert len(KINDS) >= 20
