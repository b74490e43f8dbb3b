import pytest
import torch
from torch import nn

from lits_train.network.layered_decoder import Doubling
from lits_train.settings.overrides import override, to_toml
from lits_train.settings.recipe import BASELINE, Recipe


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ("up5 8,conv1 1", "expected up2, up3, up4"),
        ("conv1", "expected up2, up3, up4"),
        ("conv3 0,conv1 1", "expected up2, up3, up4"),
        ("relu", "end in no convolution, expected 1"),
        ("up2 8,relu,conv1 2", "end in 2, expected 1"),
        ("relu,norm,conv1 1", "each norm right behind a convolution"),
        ("skip,conv1 1", "a skip where the encoder has no stage"),
        ("nearest,nearest,nearest,bilinear,bilinear,up2 8,conv1 1", "more than 5 times"),
        ("conv1 1,relu", "behind the last convolution"),
        (",".join(["relu"] * 101), "101 layers, expected up to 100"),
    ],
)
def test_layers_that_make_no_decoder_are_refused(layers: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        override(BASELINE, {"decoder_layers": layers})


def test_layers_survive_json_and_toml() -> None:
    recipe = override(BASELINE, {"decoder_layers": "up3 8,norm,relu,skip,conv1 1,bilinear"})
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert 'decoder_layers = ["up3 8", "norm", "relu", "skip", "conv1 1", "bilinear"]' in to_toml(
        recipe
    )


@pytest.mark.parametrize("kind", ["nearest", "bilinear", "bilinear-corners"])
def test_doubling_is_that_of_torch(kind: str) -> None:
    features = torch.randn(2, 3, 5, 4)
    corners = {"align_corners": kind == "bilinear-corners"} if kind != "nearest" else {}
    expected = nn.Upsample(scale_factor=2, mode=kind.partition("-")[0], **corners)(features)
    assert torch.allclose(Doubling(kind, 3)(features), expected, atol=1e-6)
