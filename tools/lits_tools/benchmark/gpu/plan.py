"""What is measured, in order of importance, and what is left out for lack of time or hardware."""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lits_runtime.messages import brief
from lits_runtime.session.providers import why_not
from lits_tools.benchmark.gpu.inference import Inference
from lits_tools.benchmark.gpu.training import Training
from lits_tools.benchmark.measured.figures import Figure, line

logger = logging.getLogger(__name__)

Measure = Callable[[], list[Figure]]

_PROVIDERS = ("cuda", "tensorrt")


@dataclass(frozen=True)
class Plan:
    """Sizes and repetitions."""

    device: str
    minutes: float
    size: int | None
    """Working size; None: the recipe's."""
    batch: int | None
    """Slices of a training step; None: the recipe's."""
    steps: int
    matrix: int
    """Rows and columns of the CT."""
    slices: int
    """Of the CT whose seconds are measured."""
    runs: int
    precisions: tuple[str, ...] = ("fp32", "fp16")
    """Of exported files."""
    recipes: tuple[str, ...] = ("default", "baseline")

    @classmethod
    def of(cls, device: str, quick: bool, minutes: float) -> "Plan":
        """The plan of a full or a quick run."""
        if quick:
            return cls(device, minutes, 64, 4, 2, 128, 12, 1, ("fp32",), ("default",))
        return cls(device, minutes, None, None, 30, 512, 400, 5)


def measure(plan: Plan) -> dict[str, Any]:
    """The figures by measurement, and those that are missing with the reason.

    A measurement that fails does not stop the others.
    """
    deadline = time.monotonic() + 60 * plan.minutes
    figures: dict[str, list[Figure]] = {}
    missing = _unavailable(plan)
    with tempfile.TemporaryDirectory() as folder:
        for name, action in _measurements(plan, Path(folder)):
            if time.monotonic() > deadline:
                missing[name] = f"{plan.minutes:g} minutes were over"
                continue
            began = time.monotonic()
            try:
                figures[name] = action()
            except Exception as error:
                missing[name] = f"{type(error).__name__}: {brief(error)}"
                logger.error("%s: %s", name, missing[name])
                continue
            logger.info("%s (%.0f s)", name, time.monotonic() - began)
            for figure in figures[name]:
                logger.info("  %s", line(figure))
    for name, reason in missing.items():
        logger.warning("missing: %s: %s", name, reason)
    return {"gpu": _gpu(plan.device), "figures": figures, "missing": missing}


def _gpu(device: str) -> dict[str, Any] | None:
    if device != "cuda":
        return None
    found = torch.cuda.get_device_properties(0)
    return {
        "name": found.name,
        "memory_gb": round(found.total_memory / 1e9, 1),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def _providers(plan: Plan) -> list[str]:
    wanted = ("cpu",) if plan.device == "cpu" else _PROVIDERS
    return [provider for provider in wanted if not why_not(provider)]


def _unavailable(plan: Plan) -> dict[str, str]:
    """Measurements that this machine cannot make, and why."""
    missing = {
        f"inference on {provider}": why
        for provider in _PROVIDERS
        if (why := "needs a GPU" if plan.device == "cpu" else why_not(provider))
    }
    if plan.device == "cpu":
        missing["training in bf16 and fp16, and compiled"] = "needs a GPU"
    return missing


def _measurements(plan: Plan, folder: Path) -> Iterator[tuple[str, Measure]]:
    training = {
        name: Training(name, plan.device, plan.size, plan.batch, plan.steps)
        for name in plan.recipes
    }
    for name, one in training.items():
        yield f"training, {name}", one.speeds
    inference = Inference(
        folder, plan.matrix, plan.slices, plan.runs, plan.precisions, plan.recipes
    )
    for provider in _providers(plan):
        yield f"inference on {provider}, whole CT", partial(inference.whole, provider)
        yield f"inference on {provider}, speed, parity, nodes", partial(inference.files, provider)
    yield "waits of a training step", training["default"].waits
    if plan.device == "cuda":
        yield "training, default, compiled", training["default"].compiled
