"""What a session needs on an NVIDIA GPU: libraries, settings, a cache for TensorRT's engines."""

import contextlib
import ctypes
import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lits_runtime.system.versions import version

DRIVER = "libcuda.so.1"
_TENSORRT = "libnvinfer.so.10"
"""Its provider opens it only when a session is made."""
_SHAPES = {"min": "1x32x32", "opt": "16x512x512", "max": "64x1024x1024"}
"""Slabs that a TensorRT engine is built for: the least, the usual, the largest."""


def load_libraries(onnxruntime: Any, provider: str) -> None:
    """Load what "cuda" or "tensorrt" needs.

    Raises:
        OSError: a library is missing; it names it.
    """
    folder = Path(onnxruntime.__file__).parent / "capi"
    ctypes.CDLL(DRIVER)  # first: without it, the rest would be 240 MB for nothing
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
        onnxruntime.preload_dlls()
    # The provider needs symbols of the shared part, which onnxruntime itself loads lazily.
    shared = folder / "libonnxruntime_providers_shared.so"
    ctypes.CDLL(str(shared), mode=ctypes.RTLD_GLOBAL)
    ctypes.CDLL(str(folder / f"libonnxruntime_providers_{provider}.so"))
    if provider == "tensorrt":
        ctypes.CDLL(_TENSORRT)


def cuda_settings(device_id: int) -> dict[str, str]:
    """Options of ONNX Runtime's CUDA provider."""
    return {
        "device_id": str(device_id),
        "cudnn_conv_algo_search": "HEURISTIC",  # the others tune each shape anew, or crawl
        "use_tf32": "0",  # TF32 has float16's 10 bits, and float32 was chosen where it matters
    }


def tensorrt_settings(model: bytes, device_id: int) -> dict[str, str]:
    """Options of ONNX Runtime's TensorRT provider; makes the folder of the model's engines."""
    cache = engine_cache(model, device_id)
    cache.mkdir(parents=True, exist_ok=True)
    return {
        "device_id": str(device_id),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(cache),
        **{f"trt_profile_{name}_shapes": f"slab:{shape}" for name, shape in _SHAPES.items()},
    }


def engine_cache(model: bytes, device_id: int = 0) -> Path:
    """The folder of the TensorRT engines for this model, GPU and software, which fit no other."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    facts = [hashlib.sha256(model).hexdigest(), gpu_name(device_id) or "no GPU"]
    facts += [
        f"{name} {version(name)}" for name in ("onnxruntime-gpu", "tensorrt", "tensorrt-cu13")
    ]
    key = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:32]
    return root / "lits-toolkit" / "tensorrt" / key


def gpu_name(device_id: int = 0) -> str | None:
    """Name and compute capability of a GPU, from the CUDA driver; None if there is none."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return None
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    calls: tuple[Callable[[], int], ...] = (
        lambda: driver.cuInit(0),
        lambda: driver.cuDeviceGet(ctypes.byref(device), device_id),
        lambda: driver.cuDeviceGetName(name, len(name), device),
        lambda: driver.cuDeviceGetAttribute(ctypes.byref(major), 75, device),
        lambda: driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, device),
    )
    if any(call() != 0 for call in calls):
        return None
    return f"{name.value.decode(errors='replace')} (compute {major.value}.{minor.value})"
