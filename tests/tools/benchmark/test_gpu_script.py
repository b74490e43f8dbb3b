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
from lits_tools.benchmark.gpu.waits import count_waits


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
    monkeypatch.setattr(Training, "waits", lambda self: [])
    output = tmp_path / "out.json"
    found = CliRunner().invoke(main, [str(output), "--device", "cpu", "--quick"])
    assert found.exit_code == 0, found.output
    written = json.loads(output.read_text())
    assert written["missing"]["inference on cpu, whole CT"] == "RuntimeError: no cpu today"
    assert "inference on cpu, speed, parity, nodes" in written["figures"]


def test_what_a_host_waits_for_is_counted() -> None:
    values = torch.arange(6.0)

    def waiting() -> None:
        values.sum().item()
        values[values > 2].tolist()
        values.nonzero()
        values[values > 2] = 0

    def computing() -> None:
        values[torch.tensor([0, 1])] = torch.where(values > 2, values, 0)[:2]
        values.clamp(0, 1).mean()

    assert (count_waits(waiting), count_waits(computing)) == (5, 0)


@pytest.mark.slow
def test_a_training_step_waits_at_most_once_for_the_device() -> None:
    """Once to choose where synthetic lesions go: more would slow down each step on a GPU."""
    figures = Training("default", "cpu", size=64, batch_size=8, steps=1).waits()
    assert [figure.name for figure in figures] == [
        "waits in augmentation",
        "waits in a step without its optimiser",
    ]
    assert all(figure.value <= 1 for figure in figures)


@pytest.mark.slow
def test_training_steps_are_timed() -> None:
    figures = Training("default", "cpu", size=64, batch_size=2, steps=1).speeds()
    assert [figure.name.partition(", ")[2] for figure in figures] == [
        "fp32, channels last",
        "fp32, channels first",
        "fp32, channels last, no augmentation",
    ]
    assert all(figure.value > 0 for figure in figures)
