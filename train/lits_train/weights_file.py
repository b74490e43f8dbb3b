"""Files of weights, read without running code that they may carry: .pth and .safetensors."""

import hashlib
import io
import json
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from lits_runtime.errors import CheckpointError
from lits_runtime.names import brief

MAX_WEIGHTS_BYTES = 2**30
"""Fifty times a checkpoint with the optimizer's state."""
SAFE_TORCH = "2.10"
"""Before it, `weights_only=True` could be bypassed."""
_GLOBAL = re.compile(r"(?:GLOBAL|class|function) ([A-Za-z_]\w*\.[\w.]+)")


def read_weights(path: Path) -> tuple[Any, str]:
    """The content of a file of weights, and its SHA-256.

    A .safetensors file gives what the same weights give in a .pth: the tensors by name, or, if its
    metadata hold the JSON of a recipe under "recipe", a checkpoint with these settings.

    Raises:
        CheckpointError: damaged, too large, or holding more than tensors and plain values; or
            this torch is too old to tell safely.
        FileNotFoundError: there is no such file.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        data = b"" if size > MAX_WEIGHTS_BYTES else file.read(MAX_WEIGHTS_BYTES + 1)
    if max(size, len(data)) > MAX_WEIGHTS_BYTES:
        raise CheckpointError(
            f"{path}: larger than {MAX_WEIGHTS_BYTES} bytes, too large for weights of RegNetY-400MF"
        )
    try:
        content = _from_safetensors(data) if _is_safetensors(data) else _from_torch(data)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return content, hashlib.sha256(data).hexdigest()


def _is_safetensors(data: bytes) -> bool:
    """Eight bytes of length, then a JSON object."""
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") < len(data)


def _from_safetensors(data: bytes) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = header.get("__metadata__", {})
        settings = {
            key: json.loads(metadata[key]) for key in ("recipe", "training") if key in metadata
        }
    except (SafetensorError, ValueError, RecursionError) as error:
        raise CheckpointError(f"damaged or no .safetensors file: {brief(error)}") from error
    return {**settings, "state_dict": tensors} if "recipe" in settings else tensors


def _from_torch(data: bytes) -> Any:
    if torch.__version__ < SAFE_TORCH:  # a TorchVersion, which compares numbers
        raise CheckpointError(
            f"torch {torch.__version__} may run code hidden in a .pth (CVE-2025-32434, "
            "CVE-2026-24747): pip install 'torch>=2.10', or give the weights as .safetensors"
        )
    if data[:4] == b"PK\x03\x04":
        _check_archive(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error that follows says it better
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever the damaged bytes provoke
        raise CheckpointError(_reason(error)) from error


def _reason(error: Exception) -> str:
    """Torch's own words advise to load the file unsafely."""
    if found := _GLOBAL.search(str(error)):
        return (
            f"refused, it asks for {found[1]} and may hold tensors and plain values only; none of "
            "its code was run. Save model.state_dict() instead of the model"
        )
    if isinstance(error, pickle.UnpicklingError):
        return (
            "refused, it is damaged, no file of weights, or a pickle of more than tensors and "
            "plain values; none of its code was run"
        )
    return f"truncated, damaged or no file of weights ({type(error).__name__}: {brief(error)})"


def _check_archive(data: bytes) -> None:
    """Torch itself reads flipped bits as they are, and would unpack a zip of zeros."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise CheckpointError("a compressed archive, and torch writes none")
            if sum(entry.file_size for entry in entries) > len(data):
                raise CheckpointError("an archive whose entries claim more than the file holds")
            damaged = archive.testzip()
    except CheckpointError:
        raise
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"truncated or damaged: {brief(error)}") from error
    if damaged is not None:
        raise CheckpointError(f"damaged: the checksum of its part {brief(damaged)} does not match")
