"""Float16: one trace, modules by precision, what overflows or is sensitive stays in float32."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import TensorProto

from lits_export.cli.export import main
from lits_export.export import ExportResult
from lits_export.lowering.emulation import (
    MAX_FLOAT32_WEIGHTS,
    Float32Mean,
    Mixture,
    module_names,
    sensitive_modules,
)
from lits_export.lowering.float16 import STEM, in_float16
from lits_export.lowering.fuse import BLOCK, for_inference
from lits_export.lowering.trace import MAX_KEPT, _kept, trace_checkpoint
from lits_runtime import Segmenter
from lits_train.network.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from lits_train.network.segmentation_network import SegmentationNetwork
from lits_train.network.slab_segmenter import SlabSegmenter
from lits_train.settings.recipe import BASELINE, DEFAULT
from support.networks.export_gates import tensor_types

pytestmark = pytest.mark.slow


def overflowing(network: SegmentationNetwork) -> SegmentationNetwork:
    """The same function in float32, with activations beyond float16 after decoder stage 1."""
    with torch.no_grad():
        network.get_parameter("decoder.1.conv.0.weight").mul_(1e8)
        network.get_parameter("decoder.1.conv.0.bias").mul_(1e8)
        network.get_parameter("decoder.2.up.weight").div_(1e8)
    return network


def test_each_weight_belongs_to_one_module(checkpoint: Path) -> None:
    folded = for_inference(load_checkpoint(checkpoint).network())
    counted = [set(folded.get_submodule(name).parameters()) for name in module_names(folded)]
    assert sum(map(len, counted)) == len(list(folded.parameters()))


@pytest.mark.parametrize("checkpoint", ["default"], indirect=True)
def test_modules_have_the_precision_that_was_chosen(checkpoint: Path) -> None:
    loaded = load_checkpoint(checkpoint)
    names, keep = module_names(for_inference(loaded.network())), [STEM, "decoder.1.conv"]
    model = in_float16(trace_checkpoint(loaded), names, keep, keep)
    onnx.checker.check_model(model, full_check=True)
    stored = {entry.name: entry.data_type for entry in model.graph.initializer}
    for name in names:
        wanted = TensorProto.FLOAT if name in keep else TensorProto.FLOAT16
        weights = [kind for weight, kind in stored.items() if f"network.{name}." in weight]
        assert weights and set(weights) == {wanted}, name
    types = tensor_types(model)
    for node in model.graph.node:
        if node.op_type in ("ReduceMean", "Resize", "GreaterOrEqual"):
            assert types[node.input[0]] == TensorProto.FLOAT, node.name
        if node.op_type == "Conv":
            assert types[node.input[0]] == types[node.output[0]] == stored[node.input[1]]


@pytest.mark.parametrize("checkpoint", ["default"], indirect=True)
def test_weights_of_kept_modules_are_stored_in_float16_where_there_is_no_room(
    checkpoint: Path,
) -> None:
    loaded = load_checkpoint(checkpoint)
    names = module_names(for_inference(loaded.network()))
    model = in_float16(trace_checkpoint(loaded), names, [STEM, "decoder.1.conv"], [STEM])
    stored = {entry.name: entry.data_type for entry in model.graph.initializer}
    assert stored["network.decoder.1.conv.0.weight.float16"] == TensorProto.FLOAT16
    assert stored[f"network.{STEM}.0.weight"] == TensorProto.FLOAT


def test_a_checkpoint_is_traced_once_and_few_traces_are_kept(checkpoint: Path) -> None:
    loaded = load_checkpoint(checkpoint)
    traced = trace_checkpoint(loaded)
    traced.model().graph.node.pop()
    assert trace_checkpoint(loaded) is traced
    assert len(traced.model().graph.node) > len(traced.modules), "a copy was changed"
    assert len(_kept) <= MAX_KEPT


def test_pooling_sums_in_float32() -> None:
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
    assert (
        len(transposed) == len(network.decoder) + load_checkpoint(checkpoint).recipe.subpixel_head
    )


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
        mixture = Mixture(network)
        emulated = mixture.keeping([STEM])(scaled).float()
        torch.testing.assert_close(mixture.keeping(mixture.names)(scaled), logits, rtol=0, atol=0.1)
    assert 0 < (emulated - logits).abs().max() < 0.1


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
    mixture = Mixture(reference.network)
    kept = sensitive_modules(reference, mixture, [STEM], [slab_hu], tolerance=0.05)
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
    arguments = [str(overflowing_checkpoint), "-o", str(model), "--precision", "fp16"]
    arguments += ["--providers", "cpu", "--min-dice", "0"]  # untrained: it may find no lesion
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.stderr
    assert "kept in float32: decoder.1.conv (inf)" in result.stderr
    parity = Segmenter.open(model).metadata.parity
    assert {"decoder.1.conv", "decoder.2.up"} <= set(parity["float32_modules"])
    assert [other["provider"] for other in parity["others"]] == ["emulated float16"]
    weights = {entry.name for entry in onnx.load(model).graph.initializer}
    assert "network.decoder.0.up.weight" in weights


def test_weights_that_matter_most_stay_in_float32(checkpoint: Path) -> None:
    loaded = load_checkpoint(checkpoint)
    reference = SlabSegmenter(loaded.recipe, loaded.network())
    mixture = Mixture(reference.network, weights_only=True)
    context = loaded.recipe.context_slices
    shape = 1 + 2 * context, 64, 64
    slab_hu = np.random.default_rng(0).uniform(-200, 300, shape).astype(np.float32)
    with torch.inference_mode():
        scaled = reference.preprocessing(torch.from_numpy(slab_hu))
        expected = reference.network(scaled).sigmoid()

        def difference(keep: list[str]) -> float:
            return float((mixture.keeping(keep)(scaled).sigmoid() - expected).abs().max())

        before = difference([STEM])
        kept = sensitive_modules(reference, mixture, [STEM], [slab_hu], tolerance=0.8 * before)
        assert kept and difference([STEM, *kept]) < 0.8 * before


@pytest.mark.parametrize("checkpoint", ["default"], indirect=True)
def test_onnxruntime_restores_stored_weights_when_it_opens_the_file(
    exported: Mapping[str, ExportResult], tmp_path: Path
) -> None:
    """Else every slab would pay for it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3  # it warns that the file is for this machine
    content = exported["fp16-weights"].model.read_bytes()
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    model = onnx.load(tmp_path / "optimised.onnx")
    assert TensorProto.FLOAT16 not in tensor_types(model).values()
    plain = onnx.load(exported["fp32"].model).graph.node
    muls = [sum(node.op_type == "Mul" for node in nodes) for nodes in (model.graph.node, plain)]
    assert muls[0] == muls[1]
