"""Int8: calibration, the modules that stay in float, the tolerance of volumes."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

from lits_export.export import ExportResult
from lits_export.lowering.float16 import STEM
from lits_export.lowering.int8 import METHODS, Calibrated, quantisable
from lits_export.parity.slabs import CALIBRATION_SLICES, calibration_slabs
from lits_export.parity.tolerance import Tolerance
from lits_runtime import Segmenter
from lits_train.network.checkpoint import load_checkpoint
from lits_train.network.slab_segmenter import SlabSegmenter

# The other recipe's modules are of the same kinds, and calibrating them takes as long again.
pytestmark = pytest.mark.parametrize("checkpoint", ["default"], indirect=True)


@pytest.fixture(scope="module")
def calibrated(exported: Mapping[str, ExportResult], checkpoint: Path) -> Calibrated:
    context = load_checkpoint(checkpoint).recipe.context_slices
    rng = np.random.default_rng(0)
    slabs = [rng.uniform(-200, 300, (1 + 2 * context, 64, 64)).astype("f4") for _ in range(2)]
    return Calibrated(onnx.load(exported["fp32"].model), slabs)


def test_int8_file_says_how_it_was_made(exported: Mapping[str, ExportResult]) -> None:
    model = onnx.load(exported["int8"].model)
    parity = Segmenter.open(exported["int8"].model).metadata.parity
    assert parity["calibration"]["method"] in METHODS
    assert 0 < parity["calibration"]["slices"] <= CALIBRATION_SLICES
    assert parity["tolerance"]["volume_percent"] > 0
    weights = {entry.name for entry in model.graph.initializer}
    for module in parity["int8_modules"]:
        assert f"network.{module}.weight_quantized" in weights
    assert not any(STEM in module or ".se." in module for module in parity["int8_modules"])
    scales = [e for e in model.graph.initializer if e.name.endswith("weight_scale")]
    assert scales and all(len(entry.dims) == 1 and entry.dims[0] > 1 for entry in scales)


def test_less_in_int8_changes_less(calibrated: Calibrated) -> None:
    names = list(calibrated.modules)
    everything = calibrated.effect(calibrated.quantised([]))
    one = calibrated.effect(calibrated.quantised(names[1:]))
    none = calibrated.effect(calibrated.quantised(names))
    assert 0 == none < one < everything
    quantised = calibrated.quantised(names[:4]).graph.node
    pairs = {node.input[0] for node in quantised if node.op_type == "Conv"}
    assert len([name for name in pairs if name.endswith("DequantizeLinear_Output")]) > 10


def test_modules_are_ranked_by_what_they_do(
    calibrated: Calibrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = dict(list(calibrated.modules.items())[-3:])
    monkeypatch.setattr(calibrated, "modules", some)
    effects = [calibrated.effect(calibrated.quantised({*some} - {n})) for n in calibrated.ranked()]
    assert effects == sorted(effects, reverse=True)


def test_root_logger_is_left_as_it_was(calibrated: Calibrated) -> None:
    level = logging.getLogger().level
    calibrated.quantised([])
    assert logging.getLogger().level == level


def test_first_and_last_and_pooling_stay_in_float(exported: Mapping[str, ExportResult]) -> None:
    modules = list(quantisable(onnx.load(exported["fp32"].model)).values())
    assert not any(m.startswith(STEM) or ".se." in m or m == "head" for m in modules)
    stages = [m for m in modules if m.startswith("decoder")]
    assert len(stages) == len(load_checkpoint_decoder(exported)) - 1
    assert len(modules) > 40


def load_checkpoint_decoder(exported: Mapping[str, ExportResult]) -> tuple[int, ...]:
    settings = Segmenter.open(exported["fp32"].model).metadata.settings
    return tuple(settings["decoder_channels"])


@pytest.mark.slow
def test_calibration_slices_show_what_the_network_finds(checkpoint: Path) -> None:
    loaded = load_checkpoint(checkpoint)
    reference = SlabSegmenter(loaded.recipe, loaded.network()).eval()
    slabs = calibration_slabs(reference, ())
    assert 8 < len(slabs) <= CALIBRATION_SLICES
    assert {slab.shape for slab in slabs} == {(1 + 2 * loaded.recipe.context_slices, 256, 256)}
    assert len({slab.tobytes() for slab in slabs}) == len(slabs)


def test_volume_is_part_of_the_tolerance(exported: Mapping[str, ExportResult]) -> None:
    report = exported["int8"].parity[0]
    strict = Tolerance(probability=None, dice=0.0, volume_percent=1e-9)
    assert "of" in report.broken(strict) and "ml (at most 1e-09 %)" in report.broken(strict)
    assert not report.broken(Tolerance(probability=None, dice=0.0, volume_percent=100.0))
