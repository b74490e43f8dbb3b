import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import random_hu, tiny_model

from lits_export.export import ExportResult
from lits_tools.benchmark_model import ModelBenchmark
from lits_tools.node_placement import fallen_back, placement


@pytest.mark.parametrize("checkpoint", ["seed"], indirect=True)
def test_benchmark_tells_speed_size_and_parity(
    checkpoint: Path, exported: dict[str, ExportResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lits_tools.benchmark_model.BATCHES", {"cpu": (1, 2), "gpu": (2,)})
    monkeypatch.setattr("lits_tools.benchmark_model.usable_processors", lambda: 1)
    models = {name: result.model for name, result in exported.items()}
    volume_hu = random_hu((6, 64, 64)).astype(np.float32)
    figures = ModelBenchmark(checkpoint, models, volume_hu, runs=2, slices=4).measure()
    told = {figure.name.partition(",")[0]: figure for figure in figures}
    assert {f"ONNX {name}" for name in models} | {"torch eager"} <= told.keys()
    assert told["ONNX int8 over ONNX fp32"].bound == "at least 1.3"
    assert all(figure.value > 0 for figure in figures if figure.unit == "slices/s")
    assert told["int8: file over fp32's"].value <= 0.4
    dice = [figure.value for figure in figures if "Dice" in figure.name]
    assert len(dice) == 3 and all(0 <= value <= 1 for value in dice)
    json.dumps([figure.value for figure in figures])


def test_placement_is_what_the_session_did() -> None:
    found = placement(tiny_model(), "cpu", random_hu((2, 8, 9)).astype(np.float32))
    assert found.keys() == {"cpu"}
    assert found["cpu"]["Sigmoid"] == 1
    assert not fallen_back(found), "nothing falls back to what was asked for"


@pytest.mark.parametrize(
    ("on_cpu", "fallen"),
    [({"Shape": 3, "Concat": 1}, 0), ({"Resize": 1, "Shape": 1}, 1), ({}, 0)],
)
def test_fallen_back_counts_work_but_not_shapes(on_cpu: dict[str, Any], fallen: int) -> None:
    found = {"cuda": Counter({"Conv": 80}), "cpu": Counter(on_cpu)}
    assert fallen_back(found).total() == fallen
