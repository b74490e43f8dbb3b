import logging
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lits_runtime import CheckpointError
from lits_train.network.checkpoint import load_checkpoint
from lits_train.network.foreign_weights import Given
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.settings.overrides import override
from lits_train.settings.recipe import BASELINE, RECIPES
from lits_train.weights.state_dict import find_state_dict
from support.networks.foreign_networks import (
    KINDS,
    MEAN,
    NARROW,
    STD,
    Kind,
    NotebookNetwork,
    RowNetwork,
    alive,
    new_regnet,
    save,
    transposed_row,
)
from support.paths import ROOT

FAST = ("original notebook", "own names, safetensors")


def given_for(kind: Kind) -> Given:
    stated = dict(kind.stated)
    recipe = override(RECIPES[stated.pop("recipe", "baseline")], stated)
    return Given(recipe, **kind.given)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in KINDS],
)
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
    assert f"{loaded.recipe.size} x {loaded.recipe.size}" in assumed
    assert "RegNetY-400MF" in caplog.records[-1].message  # the table


def test_every_kind_is_in_the_documents() -> None:
    page = (ROOT / "docs/export.md").read_text("utf-8")
    assert len(KINDS) >= 20
    assert [name for name in KINDS if f"| {name} |" not in page] == []


def test_weights_of_transposed_slices_are_turned(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = alive(NotebookNetwork(NARROW))
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    loaded = load_checkpoint(tmp_path / "weights.pth", Given(transposed=True))
    scaled = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        expected = network(((scaled - MEAN) / STD).transpose(2, 3)).transpose(2, 3)
        assert relative(loaded.network()(scaled), expected) < 1e-4


def state_of(decoder: nn.Module) -> dict[str, Tensor]:
    """Of an encoder and a decoder."""
    encoder = RowNetwork(nn.Sequential()).state_dict()
    return encoder | {f"decoder.{name}": one for name, one in decoder.state_dict().items()}


def refused() -> dict[str, Any]:
    """Contents that no network is made from, and the words of each refusal."""
    row = transposed_row()
    three = nn.Sequential(*row[:-1], nn.Conv2d(NARROW[-1], 3, 1))
    gap_in_channels = nn.Sequential(nn.ConvTranspose2d(440, 8, 2, 2), nn.ReLU(), nn.Conv2d(9, 1, 1))
    kernel = nn.Sequential(nn.ConvTranspose2d(440, 8, 8, 4), nn.Conv2d(8, 1, 1))
    group = nn.Sequential(nn.ConvTranspose2d(440, 8, 2, 2), nn.GroupNorm(2, 8), nn.Conv2d(8, 1, 1))
    two = {f"teacher.{name}": tensor + 1 for name, tensor in state_of(row).items()} | state_of(row)
    nan = state_of(row)
    nan["decoder.0.weight"] = torch.full_like(nan["decoder.0.weight"], torch.nan)
    lost = {k: v for k, v in state_of(row).items() if "block3-1.f.b.0.weight" not in k}
    skips = SegmentationNetwork(RECIPES["default"].override(size=64, crop=0)).state_dict()
    return {
        "3 output channels": state_of(three),
        r"layer decoder\.2: 9 input channels, expected 8; give the layers": state_of(
            gap_in_channels
        ),
        "names of more than 500": {"a" * 501: torch.zeros(1, 1, 1, 1)},
        "101 convolutions behind": state_of(nn.Sequential(*[nn.Conv2d(440, 440, 1)] * 101)),
        "a kernel of 8 x 8": state_of(kernel),
        r"decoder\.1: weight \(8,\), bias \(8,\); no conv": state_of(group),
        "several encoders .*--key": two,
        "does not hold plain finite numbers": nan,
        "not weights of RegNetY-400MF: 1 of": lost,
        "no RegNetY-400MF in it": nn.Conv2d(3, 8, 3).state_dict(),
        "a plain RegNetY without a decoder": new_regnet().state_dict(),
        "without its settings": skips,
        r"holds \['decoder\.0\.weight'\]; expected a checkpoint": {"decoder.0.weight": 3},
    }


@pytest.mark.slow
def test_what_cannot_be_matched_is_refused_with_a_table(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for words, content in refused().items():
        caplog.clear()
        torch.save(content, tmp_path / "weights.pth")
        with pytest.raises(CheckpointError, match=words) as error:
            load_checkpoint(tmp_path / "weights.pth")
        assert "\n" not in str(error.value)
        if "decoder is not known" in str(error.value):
            assert "--module FILE.py:NAME" in str(error.value)
            (table,) = (record.message for record in caplog.records)
            assert "weight 440 x " in table
            assert "expected, from the encoder's 440 channels on" in table


def test_settings_of_weights_alone_are_refused_for_a_checkpoint(tmp_path: Path) -> None:
    from lits_train.network.checkpoint import Checkpoint, save_checkpoint

    recipe = BASELINE.override(size=32, decoder_channels=(8,) * 5)
    path = tmp_path / "ours.pth"
    save_checkpoint(Checkpoint(recipe, SegmentationNetwork(recipe).state_dict(), {}), path)
    with pytest.raises(CheckpointError, match="holds its own settings"):
        load_checkpoint(path, Given(transposed=True))


def test_names_of_timm_are_those_that_timm_saves(tmp_path: Path) -> None:
    """Some of them, noted from timm 1.0: the encoder of a network that timm has made."""
    named = KINDS["timm's names"].content(RowNetwork(transposed_row()))
    theirs = (
        *("stem.conv.weight", "stem.bn.running_var", "s1.b1.conv1.conv.weight"),
        *("s1.b1.conv2.bn.num_batches_tracked", "s1.b1.se.fc1.weight", "s1.b1.se.fc2.bias"),
        *("s1.b1.conv3.bn.weight", "s1.b1.downsample.conv.weight", "s1.b1.downsample.bn.bias"),
        *("s3.b6.conv3.conv.weight", "s4.b6.se.fc2.weight"),
    )
    assert {f"encoder.{name}" for name in theirs} <= named.keys()
    assert not [name for name in named if "block" in name]


def test_settings_that_the_shapes_contradict_are_refused(tmp_path: Path) -> None:
    path = save(KINDS["ours of other widths"], KINDS["ours of other widths"].network(), tmp_path)
    asked = BASELINE.override(decoder_channels=(64, 32, 16, 8, 8))
    stated = frozenset({"decoder_channels"})
    with pytest.raises(CheckpointError, match=r"say \(24, 16, 16, 8, 8\): leave it out"):
        load_checkpoint(path, Given(asked, stated))
    load_checkpoint(path, Given(BASELINE.override(decoder_channels=NARROW), stated))
    row = save(KINDS["original notebook"], NotebookNetwork(), tmp_path)
    with pytest.raises(CheckpointError, match=r"decoder_channels .* was given, but the shapes"):
        load_checkpoint(row, Given(asked, stated))


def test_averaged_weights_come_first_and_others_are_named() -> None:
    def state(value: float) -> dict[str, Tensor]:
        return {"conv.weight": torch.full((1, 1, 3, 3), value)}

    content = {
        "model": state(1),
        "ema": {"module": OrderedDict(state(2), n_averaged=torch.tensor(3))},
        "optimizer": {"exp_avg": torch.zeros(1, 1, 3, 3)},
    }
    found = find_state_dict(content)
    assert found is not None
    assert found.tensors["weight"][0, 0, 0, 0] == 2
    assert found.place == " (under 'ema.module', prefix 'conv.', not taken: 'model')"
    chosen = find_state_dict(content, "model")
    assert chosen is not None
    assert chosen.tensors["weight"][0, 0, 0, 0] == 1
    with pytest.raises(CheckpointError, match="no weights under the key 'nothing'; found"):
        find_state_dict(content, "nothing")


def test_a_module_of_the_user_is_the_last_resort(tmp_path: Path) -> None:
    code = tmp_path / "theirs.py"
    code.write_text(
        "from support.networks.foreign_networks import NARROW, NotebookNetwork\n"
        "def make():\n    return NotebookNetwork(NARROW)\n"
        "def other():\n    return 3\n"
        "def broken():\n    raise KeyError('no such thing')\n"
        "def two():\n    return NotebookNetwork(NARROW, 2)\n"
    )
    torch.manual_seed(2)
    network = alive(NotebookNetwork(NARROW))
    path = tmp_path / "weights.pth"
    torch.save({"model": {f"module.{k}": v for k, v in network.state_dict().items()}}, path)
    recipe = BASELINE.override(size=64)
    loaded = load_checkpoint(path, Given(recipe, module=f"{code}:make"))
    scaled = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = network((scaled - MEAN) / STD)
        assert torch.equal(loaded.network()(scaled), expected)
    for place, words in (
        (f"{code}", "expected FILE.py:NAME of a function"),
        (f"{code}:other", "returned <class 'int'>, not a nn.Module"),
        (f"{code}:broken", "KeyError: 'no such thing'"),
        (f"{code}:two", "the weights do not fit the module of --module"),
    ):
        with pytest.raises(CheckpointError, match=words):
            load_checkpoint(path, Given(recipe, module=place))
    two = BASELINE.override(size=64, classes=("liver", "lesion"), thresholds=(0.5, 0.5))
    with pytest.raises(CheckpointError, match=r"gives \(2, 1, 64, 64\), expected logits \(n, 2"):
        load_checkpoint(path, Given(two, module=f"{code}:make"))


def test_an_encoder_starts_from_the_notebook_s_weights(tmp_path: Path) -> None:
    network = alive(NotebookNetwork(NARROW))
    torch.save({"model": network.state_dict()}, tmp_path / "weights.pth")
    started = SegmentationNetwork(BASELINE)
    started.load_encoder(str(tmp_path / "weights.pth"))
    found = started.encoder.state_dict()["2.block2-1.f.b.0.weight"]
    assert torch.equal(found, network.state_dict()["trunk_output.block2.block2-1.f.b.0.weight"])
