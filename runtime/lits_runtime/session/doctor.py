"""What this machine can run: everything is tried, nothing is assumed."""

import ctypes
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lits_runtime.errors import LitsError
from lits_runtime.segment.segmenter import Segmenter
from lits_runtime.session.providers import INSTALL, PROVIDERS, gpu_name, why_not
from lits_runtime.system.processors import allowed_processors, cgroup_quota, usable_processors
from lits_runtime.system.versions import versions

_LIBRARIES = {
    "CUDA driver": "libcuda.so.1",
    "CUDA runtime": "libcudart.so.13",
    "cuBLAS": "libcublas.so.13",
    "cuDNN": "libcudnn.so.9",
    "TensorRT": "libnvinfer.so.10",
}


@dataclass(frozen=True)
class ProviderCheck:
    """Whether a provider ran a slab."""

    name: str
    runs: bool
    detail: str
    """Milliseconds per slice, or what is missing and what would install it."""


@dataclass(frozen=True)
class Diagnosis:
    """All that `lits-doctor` tells."""

    versions: dict[str, str]
    processors: dict[str, float | int | None]
    gpu: str | None
    libraries: dict[str, str]
    providers: tuple[ProviderCheck, ...]
    advice: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def examine(model: Path | None = None) -> Diagnosis:
    """Try each provider with a model; None takes the bundled one."""
    found = versions()
    checks = tuple(_check(name, model) for name in PROVIDERS)
    return Diagnosis(
        versions={"python": platform.python_version(), **found},
        processors={
            "host": os.cpu_count(),
            "allowed by affinity": allowed_processors(),
            "cgroup quota": cgroup_quota(),
            "threads used": usable_processors(),
        },
        gpu=gpu_name(),
        libraries={name: _load(library) for name, library in _LIBRARIES.items()},
        providers=checks,
        advice=tuple(_advice(found, checks)),
    )


def _check(provider: str, model: Path | None) -> ProviderCheck:
    try:
        if reason := why_not(provider):
            return ProviderCheck(provider, False, reason)
        with Segmenter.open(model, provider=provider) as segmenter:
            slab_hu = np.zeros((4 + 2 * segmenter.metadata.context_slices, 512, 512), np.float32)
            segmenter.labels(slab_hu)  # the first run sets up
            began = time.perf_counter()
            segmenter.labels(slab_hu)
            spent_ms = (time.perf_counter() - began) / 4 * 1000
    except (LitsError, OSError) as error:
        return ProviderCheck(provider, False, " ".join(str(error).split()))
    return ProviderCheck(provider, True, f"{spent_ms:.1f} ms per slice of 512 x 512")


def _load(library: str) -> str:
    try:
        ctypes.CDLL(library)
    except OSError as error:
        return f"no: {error}"
    return "found"


def _advice(found: dict[str, str], checks: tuple[ProviderCheck, ...]) -> list[str]:
    runs = {check.name for check in checks if check.runs}
    if {"onnxruntime", "onnxruntime-gpu"} <= found.keys():
        return [
            "onnxruntime and onnxruntime-gpu overwrite each other: pip uninstall both, then "
            "install one of 'lits-toolkit[cpu]' and 'lits-toolkit[cuda]'"
        ]
    if not {"onnxruntime", "onnxruntime-gpu"} & found.keys():
        return ["pip install 'lits-toolkit[cpu]', or 'lits-toolkit[cuda]' for an NVIDIA GPU"]
    if sys.platform != "linux":
        return []
    has_driver = _load("libcuda.so.1") == "found"
    if "cuda" not in runs:
        action = INSTALL["cuda"] if has_driver else "needs an NVIDIA GPU with its driver"
        return [f"for cuda: {action}"]
    if "tensorrt" not in runs:
        return [f"for tensorrt: {INSTALL['tensorrt']}"]
    return []
