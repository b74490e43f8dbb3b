"""ONNX Runtime sessions on the provider that was asked for, or an error that says what is missing.

onnxruntime itself falls back to the CPU with a warning (microsoft/onnxruntime#23372).
"""

import contextlib
import ctypes
import io
import logging
from pathlib import Path
from typing import Any

from lits_runtime.errors import ModelError, ProviderError
from lits_runtime.processors import usable_processors

logger = logging.getLogger(__name__)

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_LIBRARY = {"cuda": "libonnxruntime_providers_cuda.so"}
_OPTIONS = {"cuda": {"cudnn_conv_algo_search": "HEURISTIC"}}  # the others re-tune or crawl
_INSTALL = "pip uninstall onnxruntime onnxruntime-gpu; pip install 'lits-toolkit[cuda]'"


def open_session(model: bytes, provider: str = "auto", threads: int | None = None) -> Any:
    """An `onnxruntime.InferenceSession` that really runs on `provider`.

    Args:
        model: content of the ONNX file.
        provider: "cpu", "cuda", or "auto" for the best that loads.
        threads: intra-op threads; all processors that this process may use if None.

    Raises:
        ProviderError: the provider did not load; the message names the missing library.
        ModelError: the bytes are not a model that ONNX Runtime can load.
    """
    if provider == "auto":
        reason = why_not("cuda")
        provider = "cpu" if reason else "cuda"
        logger.debug("provider %s%s", provider, f" (no cuda: {reason})" if reason else "")
    elif reason := why_not(provider):
        raise ProviderError(f"provider {provider} is not available: {reason}")
    session = _create(model, provider, threads or usable_processors())
    if session.get_providers()[0] != PROVIDERS[provider]:
        raise ProviderError(
            f"asked for {provider}, got {session.get_providers()[0]}: the GPU or its driver did "
            "not answer; look at nvidia-smi, or run with --provider cpu"
        )
    return session


def session_provider(session: Any) -> str:
    """The name in `PROVIDERS` of what the session runs on."""
    return {onnx_name: name for name, onnx_name in PROVIDERS.items()}[session.get_providers()[0]]


def why_not(provider: str) -> str | None:
    """None if the provider's library loads, else what is missing and what would install it."""
    import onnxruntime

    if provider not in PROVIDERS:
        return f"unknown; known are auto, {', '.join(PROVIDERS)}"
    if PROVIDERS[provider] not in onnxruntime.get_available_providers():
        return f"this onnxruntime was built without it; {_INSTALL}"
    if provider == "cpu":
        return None
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
        onnxruntime.preload_dlls()
    library = Path(onnxruntime.__file__).parent / "capi" / _LIBRARY[provider]
    try:
        _load_with_dependencies(library)
    except OSError as error:
        return f"{error}; a CUDA GPU with its driver is needed, and {_INSTALL}"
    return None


def _load_with_dependencies(library: Path) -> None:
    # The provider needs symbols of the shared part, which onnxruntime loads lazily itself.
    ctypes.CDLL(
        str(library.with_name("libonnxruntime_providers_shared.so")), mode=ctypes.RTLD_GLOBAL
    )
    ctypes.CDLL(str(library))
    ctypes.CDLL("libcuda.so.1")


def _create(model: bytes, provider: str, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    wanted = [(PROVIDERS[provider], _OPTIONS.get(provider, {}))]
    try:
        return onnxruntime.InferenceSession(model, options, providers=wanted, enable_fallback=0)
    except Exception as error:  # onnxruntime's own classes share no base but Exception
        reason = str(error).splitlines()[0]
        if provider != "cpu":
            raise ProviderError(f"provider {provider} did not start: {reason}") from error
        raise ModelError(f"ONNX Runtime cannot load the model: {reason}") from error
