"""What this machine can run, found by running it."""

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
from lits_runtime.session.engine import Engine
from lits_runtime.session.gpu import DRIVER, gpu_name
from lits_runtime.session.opening import Opening
from lits_runtime.session.providers import INSTALL, PROVIDERS, why_not
from lits_runtime.session.run import run
from lits_runtime.system.processors import allowed_processors, cgroup_quota, usable_processors
from lits_runtime.system.versions import versions

_LIBRARIES = {
    "CUDA driver": DRIVER,
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
    advice: str | None = None
    """What would make the model faster there."""


@dataclass(frozen=True)
class Diagnosis:
    """What `lits-doctor` prints."""

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
    """Try each provider with a model, by default the bundled one."""
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
        advice=(*_advice(found, checks), *(check.advice for check in checks if check.advice)),
    )


def _check(provider: str, model: Path | None) -> ProviderCheck:
    try:
        if reason := why_not(provider):
            return ProviderCheck(provider, False, reason)
        opening = Opening(model, provider, threads=None, device_id=0, sha256=None)
        with Engine.open(opening) as engine, engine.in_use() as session:
            slab_hu = np.zeros((4 + 2 * engine.metadata.context_slices, 512, 512), np.float32)
            run(session, ["labels"], slab_hu)  # the first run sets up
            began = time.perf_counter()
            run(session, ["labels"], slab_hu)
            spent_ms = (time.perf_counter() - began) / 4 * 1000
            advice = engine.advice
    except (LitsError, OSError) as error:
        return ProviderCheck(provider, False, " ".join(str(error).split()))
    detail = f"{spent_ms:.1f} ms per slice of 512 x 512"
    return ProviderCheck(provider, True, detail, advice)


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
    has_driver = _load(DRIVER) == "found"
    if "cuda" not in runs:
        action = INSTALL["cuda"] if has_driver else "needs an NVIDIA GPU with its driver"
        return [f"for cuda: {action}"]
    if "tensorrt" not in runs:
        return [f"for tensorrt: {INSTALL['tensorrt']}"]
    return []
