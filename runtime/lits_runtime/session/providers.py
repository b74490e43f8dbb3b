"""ONNX Runtime sessions on the provider that was asked for, or an error that says what is missing.

onnxruntime itself falls back to the CPU with a warning (microsoft/onnxruntime#23372).
"""

import contextlib
import ctypes
import hashlib
import io
import logging
import os
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from lits_runtime.errors import ModelError, ProviderError
from lits_runtime.messages import brief
from lits_runtime.system.process import return_freed_memory
from lits_runtime.system.processors import usable_processors
from lits_runtime.system.versions import version

logger = logging.getLogger(__name__)

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
SILENT = 4
"""Log level at which ONNX Runtime prints nothing; its errors are raised, and reach the caller."""
_ONNXRUNTIME_NOISE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |"
    r"/onnxruntime_src/\S+:\d+ [^()]*\((?:[^()]|\([^()]*\))*\)(?: const)? "
)
_DRIVER = "libcuda.so.1"
_TENSORRT = "libnvinfer.so.10"
"""Opened by its provider only once that is in use."""
_INSTALL_CUDA = "pip uninstall onnxruntime onnxruntime-gpu; pip install 'lits-toolkit[cuda]'"
INSTALL = {
    "cuda": _INSTALL_CUDA,
    "tensorrt": f"{_INSTALL_CUDA}; pip install 'tensorrt-cu13>=10'",
}
_INSTALL_EITHER = (
    "pip install 'lits-toolkit[cpu]', or 'lits-toolkit[cuda]' for an NVIDIA GPU, never both"
)
_REINSTALL = f"pip uninstall onnxruntime onnxruntime-gpu; {_INSTALL_EITHER}"
_TRT_SHAPES = {"min": "{least}x32x32", "opt": "{usual}x512x512", "max": "{most}x1024x1024"}


@lru_cache(1)
def load_onnxruntime() -> Any:
    """The package onnxruntime: every use of it goes through here.

    Its telemetry is off by then, unless the user's environment says otherwise: `lits_runtime` sets
    the variable that it reads when it is loaded.

    Raises:
        ProviderError: it is not installed, does not load, or is what an uninstall left of it.
    """
    try:
        import onnxruntime
    except Exception as error:  # a damaged package fails with anything
        if isinstance(error, ModuleNotFoundError) and error.name == "onnxruntime":
            raise ProviderError(f"onnxruntime is not installed: {_INSTALL_EITHER}") from error
        raise ProviderError(
            f"onnxruntime does not load: {brief(error) or type(error).__name__}; {_REINSTALL}"
        ) from error
    if not hasattr(onnxruntime, "InferenceSession"):
        # onnxruntime and onnxruntime-gpu share a folder: to remove one empties the other.
        places = ", ".join(map(str, getattr(onnxruntime, "__path__", ()))) or "nowhere"
        raise ProviderError(
            f"the onnxruntime in {brief(places)} has no InferenceSession, it is damaged or half "
            f"uninstalled: {_REINSTALL}"
        )
    if os.environ.get("ORT_DISABLE_TELEMETRY") == "1":
        # A program that imported it before this package has its files written, but sends nothing.
        getattr(onnxruntime, "disable_telemetry_events", int)()
    return onnxruntime


def open_session(
    model: bytes,
    provider: str = "auto",
    threads: int | None = None,
    device_id: int = 0,
    profile: Path | None = None,
) -> Any:
    """An `onnxruntime.InferenceSession` that really runs on `provider`.

    Args:
        model: content of the ONNX file.
        provider: "cpu", "cuda", "tensorrt", or "auto" for cuda if it loads and else cpu.
        threads: intra-op threads; all processors that this process may use if None.
        device_id: which GPU.
        profile: start of the name of the profile that `session.end_profiling()` then writes.

    Raises:
        ProviderError: the provider did not load; the message names the missing library.
        ModelError: the bytes are not a model that ONNX Runtime can load.
    """
    if provider == "auto":
        return _open_best(model, threads, device_id, profile)
    if reason := why_not(provider):
        raise ProviderError(f"provider {provider} is not available: {reason}")
    session = _create(model, provider, threads or usable_processors(), device_id, profile)
    if session.get_providers()[0] != PROVIDERS[provider]:
        raise ProviderError(
            f"asked for {provider}, got {session.get_providers()[0]}: the GPU or its driver did "
            "not answer; look at nvidia-smi, or run with --provider cpu"
        )
    return session


def _open_best(model: bytes, threads: int | None, device_id: int, profile: Path | None) -> Any:
    """CUDA if it really starts, else the CPU.

    TensorRT is not tried: it builds an engine for minutes, which only its user can want.
    """
    try:
        return open_session(model, "cuda", threads, device_id, profile)
    except ProviderError as error:
        logger.debug("provider cpu: %s", error)
    return open_session(model, "cpu", threads, profile=profile)


def session_provider(session: Any) -> str:
    """The name in `PROVIDERS` of what the session runs on."""
    return {onnx_name: name for name, onnx_name in PROVIDERS.items()}[session.get_providers()[0]]


def why_not(provider: str) -> str | None:
    """None if the provider's libraries load, else what is missing and what would install it.

    Raises:
        ProviderError: there is no onnxruntime to ask.
    """
    if provider not in PROVIDERS:
        return f"unknown; known are auto, {', '.join(PROVIDERS)}"
    onnxruntime = load_onnxruntime()
    if PROVIDERS[provider] not in onnxruntime.get_available_providers():
        return f"this onnxruntime was built without it; {INSTALL[provider]}"
    if provider == "cpu":
        return None
    folder = Path(onnxruntime.__file__).parent / "capi"
    try:
        ctypes.CDLL(_DRIVER)  # first: where there is none, the rest is 240 MB for nothing
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
            onnxruntime.preload_dlls()
        # The provider needs symbols of the shared part, which onnxruntime loads lazily itself.
        shared = folder / "libonnxruntime_providers_shared.so"
        ctypes.CDLL(str(shared), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / f"libonnxruntime_providers_{provider}.so"))
        if provider == "tensorrt":
            ctypes.CDLL(_TENSORRT)
    except OSError as error:
        return f"{error}; a CUDA GPU with its driver is needed, and {INSTALL[provider]}"
    return None


def _create(model: bytes, provider: str, threads: int, device_id: int, profile: Path | None) -> Any:
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = SILENT
    options.enable_mem_pattern = False  # plans a block for each run: 8 MB more, and no faster
    # Its other format is not what was looked into, though a file may be made to be both.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    wanted = _settings(model, provider, device_id)
    if provider == "cpu":
        from lits_runtime.session.float32 import in_float32

        model = in_float32(model)
    try:
        session = onnxruntime.InferenceSession(model, options, providers=wanted, enable_fallback=0)
    except Exception as error:  # onnxruntime's own classes share no base but Exception
        if provider != "cpu":
            raise ProviderError(
                f"provider {provider} did not start: {onnxruntime_reason(error)}"
            ) from error
        reason = onnxruntime_reason(error)
        if "pthread" in str(error) or ("hread" in reason and "creat" in reason):
            raise ProviderError(
                f"no {threads} threads to be had: {reason}; ask for fewer"
            ) from error
        raise ModelError(f"ONNX Runtime cannot load the model: {reason}") from error
    return_freed_memory()
    return session


def onnxruntime_reason(error: Exception) -> str:
    r"""What ONNX Runtime says, without its error codes, source files and C++ signatures.

    >>> found = "[ONNXRuntimeError] : 1 : FAIL : /onnxruntime_src/a.cc:9 void f(int, g(h)) No way"
    >>> onnxruntime_reason(RuntimeError(found))
    'No way'
    """
    return brief(_ONNXRUNTIME_NOISE.sub("", str(error)))


def _settings(model: bytes, provider: str, device_id: int) -> list[tuple[str, dict[str, str]]]:
    """Provider list and options for a session."""
    if provider == "cpu":
        return [(PROVIDERS["cpu"], {})]
    cuda = {
        "device_id": str(device_id),
        "cudnn_conv_algo_search": "HEURISTIC",  # the others re-tune for each shape, or crawl
        "use_tf32": "0",  # its 10 bits are float16's: float32 was asked for where it matters
    }
    if provider == "cuda":
        return [(PROVIDERS["cuda"], cuda)]
    cache = engine_cache(model, device_id)
    cache.mkdir(parents=True, exist_ok=True)
    sizes = {"least": 1, "usual": 16, "most": 64}
    tensorrt = {
        "device_id": str(device_id),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(cache),
    } | {
        f"trt_profile_{name}_shapes": f"slab:{shape.format(**sizes)}"
        for name, shape in _TRT_SHAPES.items()
    }
    # Nodes that TensorRT does not take run on CUDA, which is still what was asked for: the GPU.
    return [(PROVIDERS["tensorrt"], tensorrt), (PROVIDERS["cuda"], cuda)]


def engine_cache(model: bytes, device_id: int = 0) -> Path:
    """The folder of TensorRT engines for this model, GPU and versions: no other may use them."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    facts = [hashlib.sha256(model).hexdigest(), gpu_name(device_id) or "no GPU"]
    facts += [
        f"{name} {version(name)}" for name in ("onnxruntime-gpu", "tensorrt", "tensorrt-cu13")
    ]
    key = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:32]
    return root / "lits-toolkit" / "tensorrt" / key


def gpu_name(device_id: int = 0) -> str | None:
    """Name and compute capability of a GPU by the CUDA driver; None if there is none."""
    try:
        driver = ctypes.CDLL(_DRIVER)
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
