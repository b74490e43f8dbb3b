"""Weights of the original notebook, and of a module of the user, exported by the command."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.nn import functional

from lits_export.cli.export import main
from lits_export.parity.slabs import phantom_slabs
from lits_runtime import Segmenter
from lits_train.network.preprocessing import Preprocessing
from lits_train.settings.recipe import BASELINE
from support.networks.foreign_networks import MEAN, STD, NotebookNetwork, alive

pytestmark = pytest.mark.slow

RECIPE = BASELINE.override(size=64)
CODE = """
from torch import nn
from support.networks.foreign_networks import NARROW, NotebookNetwork

class Residual(NotebookNetwork):
    def __init__(self):
        super().__init__(NARROW)
        self.beside = nn.Conv2d(440, 440, 1)

    def forward(self, x):
        features = self.trunk_output(self.stem(x))
        return self.decoder(features + self.beside(features))
"""


def normalised(slab_hu: torch.Tensor) -> torch.Tensor:
    scaled: torch.Tensor = Preprocessing(RECIPE)(slab_hu)
    return (scaled - MEAN) / STD


def spread(network: nn.Module, head: nn.Module, slab_hu: torch.Tensor) -> None:
    """Make the masks on a slab neither empty nor full."""
    with torch.no_grad():
        logits = network(normalised(slab_hu))
        assert isinstance(head, nn.Conv2d) and head.bias is not None
        head.weight /= 8 * logits.std()
        head.bias.sub_(logits.median()).div_(8 * logits.std())


def test_the_notebook_s_weights_give_the_notebook_s_probabilities(tmp_path: Path) -> None:
    slab_hu = torch.from_numpy(next(phantom_slabs(0)).slab_hu)
    torch.manual_seed(3)
    network = alive(NotebookNetwork())
    spread(network, network.get_submodule("decoder.20"), slab_hu)
    weights, model = tmp_path / "regnet_lits_tumor_segmentation_trained.pth", tmp_path / "m.onnx"
    torch.save(network.state_dict(), weights)
    arguments = [str(weights), "-o", str(model), "--precision", "fp32", "--set", "size=64"]
    result = CliRunner().invoke(main, [*arguments, "--transposed", "--providers", "cpu"])
    assert result.exit_code == 0, result.output
    with torch.inference_mode():
        logits = network(normalised(slab_hu).transpose(2, 3)).transpose(2, 3)
        expected = functional.interpolate(logits, slab_hu.shape[1:], mode="bilinear").sigmoid()
    with Segmenter.open(model, provider="cpu") as segmenter:
        found = segmenter.probability(slab_hu.numpy())
    assert 0.1 < (expected >= 0.5).float().mean() < 0.9
    assert float((torch.from_numpy(found) - expected).abs().max()) < 1e-4


def test_a_module_of_the_user_is_exported(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(CODE)
    place = f"{tmp_path / 'theirs.py'}:Residual"
    scope: dict[str, type[nn.Module]] = {}
    exec(CODE, scope)
    torch.manual_seed(4)
    network = alive(scope["Residual"]())
    slab_hu = torch.from_numpy(next(phantom_slabs(0)).slab_hu)
    head = list(network.get_submodule("decoder").children())[-1]
    spread(network, head, slab_hu)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    arguments = [str(tmp_path / "weights.pth"), "--set", "size=64", "--providers", "cpu"]
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 1
    assert "--module FILE.py:NAME" in refused.output
    result = CliRunner().invoke(main, [*arguments, "--module", place])
    assert result.exit_code == 0, result.output
    with torch.inference_mode():
        logits = network(normalised(slab_hu))
        expected = functional.interpolate(logits, slab_hu.shape[1:], mode="bilinear").sigmoid()
    with Segmenter.open(tmp_path / "weights.onnx", provider="cpu") as segmenter:
        found = segmenter.probability(slab_hu.numpy())
    assert 0.1 < (expected >= 0.5).float().mean() < 0.9
    assert float((torch.from_numpy(found) - expected).abs().max()) < 0.01
