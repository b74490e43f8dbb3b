"""The measurements for a GPU, as far as a CPU can make them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from lits_tools.benchmark.gpu.__main__ import main
from lits_tools.benchmark.gpu.inference import Inference
from lits_tools.benchmark.gpu.plan import Plan, measure
from lits_tools.benchmark.gpu.training import Training


@pytest.mark.skipif(torch.cuda.is_available(), reason="refused only where there is no GPU")
def test_without_a_gpu_it_says_what_would_work(tmp_path: Path) -> None:
    found = CliRunner().invoke(main, [str(tmp_path / "out.json")])
    assert found.exit_code == 2
    assert "--device cpu --quick" in found.stderr
    assert not list(tmp_path.iterdir())


def test_what_is_not_measured_is_listed_with_its_reason() -> None:
    results: dict[str, Any] = measure(Plan.of("cpu", quick=True, minutes=0))
    assert results["figures"] == {}
    assert results["missing"]["training, default"] == "0 minutes were over"
    assert results["missing"]["inference on tensorrt"] == "needs a GPU"


@pytest.mark.slow
def test_one_measurement_that_fails_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the parts that take long: inference on the CPU says nothing about GPUs."""

    def broken(self: Inference, provider: str) -> None:
        raise RuntimeError(f"no {provider} today")

    monkeypatch.setattr(Inference, "whole", broken)
    monkeypatch.setattr(Inference, "files", lambda self, provider: [])
    monkeypatch.setattr(Training, "speeds", lambda self: [])
    output = tmp_path / "out.json"
    found = CliRunner().invoke(main, [str(output), "--device", "cpu", "--quick"])
    assert found.exit_code == 0, found.output
    written = json.loads(output.read_text())
    assert written["missing"]["inference on cpu, whole CT"] == "RuntimeError: no cpu today"
    assert "inference on cpu, speed, parity, nodes" in written["figures"]


@pytest.mark.slow
def test_training_steps_are_timed() -> None:
    figures = Training("default", "cpu", size=64, batch_size=2, steps=1).speeds()
    assert [figure.name.partition(", ")[2] for figure in figures] == [
        "fp32, channels last",
        "fp32, channels first",
        "fp32, channels last, no augmentation",
    ]
    assert all(figure.value > 0 for figure in figures)
