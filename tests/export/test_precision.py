from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner

from lits_export.cli.export import main
from lits_export.lowering.float16 import (
    MAX_FLOAT32_WEIGHTS,
    STEM,
    Float32Mean,
    InPrecision,
    Mixture,
    module_names,
    sensitive_modules,
)
from lits_export.lowering.fuse import BLOCK, for_inference
from lits_runtime import Segmenter
from lits_train.network.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.network.slab_segmenter import SlabSegmenter
from lits_train.settings.recipe import BASELINE, DEFAULT


def overflowing(network: SegmentationNetwork) -> SegmentationNetwork:
    """The same function in float32, with activations beyond float16 after decoder stage 1."""
    with torch.no_grad():
        network.get_parameter("decoder.1.conv.0.weight").mul_(1e8)
        network.get_parameter("decoder.1.conv.0.bias").mul_(1e8)
        network.get_parameter("decoder.2.up.weight").div_(1e8)
    return network


def test_modules_have_the_precision_that_was_chosen(checkpoint: Path) -> None:
    network = load_checkpoint(checkpoint).network()
    folded = for_inference(network)
    names = module_names(folded)
    counted = [set(folded.get_submodule(name).parameters()) for name in names]
    assert sum(map(len, counted)) == len(list(folded.parameters())), "each belongs to one module"
    keep = [STEM, "decoder.1.conv"]
    lowered = Mixture(network).keeping(keep)
    for name in names:
        wanted = torch.float32 if name in keep else torch.float16
        module = lowered.get_submodule(name)
        assert isinstance(module, InPrecision)
        assert {p.dtype for p in module.parameters()} == {wanted}, name
    assert next(iter(network.parameters())).dtype == torch.float32, "the original is untouched"
    huge = torch.full((1, 1, 64, 64), 60000, dtype=torch.float16)
    assert float(Float32Mean()(huge)) == pytest.approx(60000, rel=1e-3)


def test_inference_form_is_the_same_function_in_wide_groups(checkpoint: Path) -> None:
    network = load_checkpoint(checkpoint).network().double()
    rewritten = for_inference(network)
    scaled = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(rewritten(scaled), network(scaled), rtol=0, atol=1e-12)
    modules = list(rewritten.modules())
    grouped = [m for m in modules if isinstance(m, torch.nn.Conv2d) and m.groups > 1]
    assert len(grouped) == 16, "one in each block of RegNetY-400MF"
    assert {m.in_channels // m.groups for m in grouped} == {BLOCK}
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in modules)
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules()), "left as it was"
    transposed = [m for m in modules if isinstance(m, torch.nn.ConvTranspose2d)]
    assert len(transposed) == 4, "a last stage without a skip has none"


@pytest.mark.parametrize("classes", [1, 2])
def test_a_stage_and_the_head_in_four_pixels_at_once(classes: int) -> None:
    torch.manual_seed(1)
    recipe = BASELINE if classes == 1 else DEFAULT.override(skip_connections=False)
    network = SegmentationNetwork(recipe).double().eval()
    stage, head = network.decoder[-1], network.head
    features = torch.randn(2, recipe.decoder_channels[-2], 5, 3, dtype=torch.float64)
    rewritten = for_inference(network)
    with torch.inference_mode():
        expected = head(stage(features, None))
        logits = rewritten.head(rewritten.decoder[-1](features, None))
    assert logits.shape == (2, classes, 10, 6)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("skips", [True, False])
def test_a_subpixel_head_is_left_as_it_is(skips: bool) -> None:
    torch.manual_seed(2)
    recipe = DEFAULT.override(size=64, skip_connections=skips, subpixel_head=True)
    network = SegmentationNetwork(recipe).eval()
    scaled = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(
            for_inference(network)(scaled), network(scaled), rtol=0, atol=1e-4
        )


def test_folding_and_emulation_change_nothing_but_the_rounding(checkpoint: Path) -> None:
    network = load_checkpoint(checkpoint).network()
    scaled = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        logits = network(scaled)
        torch.testing.assert_close(for_inference(network)(scaled), logits, rtol=0, atol=1e-4)
        true = Mixture(network).keeping([STEM])(scaled).float()
        emulated = Mixture(network, emulated=True).keeping([STEM])(scaled).float()
    rounding = (true - logits).abs().max()
    assert 0 < (true - emulated).abs().max() <= 2 * rounding
    assert 0 < (emulated - logits).abs().max() <= 2 * rounding


def test_room_for_float32_weights_is_bounded(checkpoint: Path) -> None:
    network = load_checkpoint(checkpoint).network()
    mixture = Mixture(network)
    whole = mixture.float32_weights(mixture.names)
    assert 0 < len(whole) < len(mixture.names)
    folded = for_inference(network)
    sizes = [p.numel() for name in whole for p in folded.get_submodule(name).parameters()]
    assert sum(sizes) <= MAX_FLOAT32_WEIGHTS * sum(p.numel() for p in folded.parameters())
    lowered = mixture.keeping(mixture.names)
    largest = lowered.get_parameter("decoder.0.up.lowered.weight")
    assert not torch.equal(largest, network.get_parameter("decoder.0.up.weight"))


@pytest.mark.parametrize("checkpoint", ["baseline"], indirect=True)
def test_what_overflows_is_found(checkpoint: Path) -> None:
    loaded = load_checkpoint(checkpoint)
    reference = SlabSegmenter(loaded.recipe, overflowing(loaded.network()))
    slab_hu = np.random.default_rng(0).uniform(-200, 300, (1, 64, 64)).astype(np.float32)
    kept = sensitive_modules(reference, [STEM], [slab_hu], tolerance=0.05)
    assert kept[0] == "decoder.1.conv", "its output is infinite"
    assert "decoder.2.up" in kept, "its input must not be float16 either"
    assert len(kept) < 6


@pytest.fixture(scope="module")
def overflowing_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    recipe = BASELINE.override(size=64)
    network = overflowing(SegmentationNetwork(recipe))
    path = tmp_path_factory.mktemp("overflow") / "checkpoint.pth"
    save_checkpoint(Checkpoint(recipe, network.state_dict(), {"epochs": 0}), path)
    return path


def test_an_overflow_that_the_cpu_would_hide_is_kept_in_float32(
    overflowing_checkpoint: Path, tmp_path: Path
) -> None:
    """ONNX Runtime's CPU computes float16 nodes in float32: only the emulation can see it."""
    model = tmp_path / "model.onnx"
    arguments = [str(overflowing_checkpoint), "-o", str(model), "--providers", "cpu"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.stderr
    assert "kept in float32: decoder.1.conv (inf)" in result.stderr
    parity = Segmenter.open(model).metadata.parity
    assert {"decoder.1.conv", "decoder.2.up"} <= set(parity["float32_modules"])
    assert [other["provider"] for other in parity["others"]] == ["emulated float16"]
    weights = {entry.name for entry in onnx.load(model).graph.initializer}
    assert "network.decoder.0.up.lowered.weight" in weights
