import json
from pathlib import Path

import numpy as np
import pytest

from lits_export.export import ExportResult
from lits_tools.benchmark.model import ModelBenchmark
from lits_tools.benchmark.node_placement import NodeRun, count, fallen_back, placement
from support.files.scans import random_hu
from support.networks.tiny_models import tiny_model

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("checkpoint", ["default"], indirect=True)
def test_benchmark_tells_speed_size_and_parity(
    checkpoint: Path, exported: dict[str, ExportResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lits_tools.benchmark.model.BATCHES", {"cpu": (1, 2), "gpu": (2,)})
    monkeypatch.setattr("lits_tools.benchmark.model.usable_processors", lambda: 1)
    models = {name: result.model for name, result in exported.items()}
    volume_hu = random_hu((6, 64, 64)).astype(np.float32)
    figures = ModelBenchmark(checkpoint, models, volume_hu, runs=2, slices=4).measure()
    told = {figure.name.partition(",")[0]: figure for figure in figures}
    assert {f"ONNX {name}" for name in models} | {"torch eager"} <= told.keys()
    assert told["ONNX int8 over ONNX fp32"].bound == "at least 1.3"
    assert all(figure.value > 0 for figure in figures if figure.unit == "slices/s")
    assert told["int8: file size over fp32"].value <= 0.4
    dice = [figure.value for figure in figures if "Dice" in figure.name]
    assert len(dice) == 2 * len(models) and all(0 <= value <= 1 for value in dice)
    json.dumps([figure.value for figure in figures])


def test_placement_is_what_the_session_did() -> None:
    slab_hu = random_hu((2, 8, 9)).astype(np.float32)
    nodes = placement(tiny_model(), "cpu", slab_hu)
    assert count(nodes).keys() == {"cpu"}
    assert count(nodes)["cpu"]["Sigmoid"] == 1
    assert {node.output_bytes for node in nodes if node.operator == "Sigmoid"} == {
        2 * 2 * 8 * 9 * 4
    }


@pytest.mark.parametrize(("output_bytes", "fallen"), [(32, False), (2 * 64 * 64, True)])
def test_what_handles_data_on_the_cpu_has_fallen_back(output_bytes: int, fallen: bool) -> None:
    on_gpu = NodeRun("Conv", "cuda", 10**6)
    on_cpu = NodeRun("Concat", "cpu", output_bytes)
    assert fallen_back([on_gpu, on_cpu]) == ([on_cpu] if fallen else [])
