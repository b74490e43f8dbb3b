"""ONNX Runtime sessions on the provider that was asked for, or an error that says what is missing.

ONNX Runtime itself falls back to the CPU with a warning (microsoft/onnxruntime#23372).
"""

import logging
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from lits_runtime.errors import ModelError, ProviderError
from lits_runtime.messages import brief
from lits_runtime.session.gpu import cuda_settings, load_libraries, tensorrt_settings
from lits_runtime.system.process import return_freed_memory
from lits_runtime.system.processors import usable_processors

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
_INSTALL_CUDA = "pip uninstall onnxruntime onnxruntime-gpu; pip install 'lits-toolkit[cuda]'"
INSTALL = {
    "cuda": _INSTALL_CUDA,
    "tensorrt": f"{_INSTALL_CUDA}; pip install 'tensorrt-cu13>=10'",
}
_INSTALL_EITHER = (
    "pip install 'lits-toolkit[cpu]', or 'lits-toolkit[cuda]' for an NVIDIA GPU, never both"
)
_REINSTALL = f"pip uninstall onnxruntime onnxruntime-gpu; {_INSTALL_EITHER}"


@lru_cache(1)
def load_onnxruntime() -> Any:
    """The package onnxruntime, which is used through here alone.

    Its telemetry is off, unless the user's environment says otherwise: `lits_runtime` has set the
    variable that it reads when it is imported.

    Raises:
        ProviderError: it is not installed, does not load, or was partly uninstalled.
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
        # Where a program imported it before this package, it has written its files by now.
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

    TensorRT is not tried: it builds its engine for minutes, so it has to be asked for.
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
    try:
        load_libraries(onnxruntime, provider)
    except OSError as error:
        return f"{error}; a CUDA GPU with its driver is needed, and {INSTALL[provider]}"
    return None


def _create(model: bytes, provider: str, threads: int, device_id: int, profile: Path | None) -> Any:
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = SILENT
    options.enable_mem_pattern = False  # a block planned for each run: 8 MB more, no faster
    # The file was checked as ONNX; one can be made that is ONNX Runtime's own format as well.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    wanted = _settings(model, provider, device_id)
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
                f"cannot start {threads} threads: {reason}; ask for fewer"
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
    cuda = PROVIDERS["cuda"], cuda_settings(device_id)
    if provider == "cuda":
        return [cuda]
    # Nodes that TensorRT does not take run on CUDA: still on the GPU, as was asked for.
    return [(PROVIDERS["tensorrt"], tensorrt_settings(model, device_id)), cuda]
