"""Weight files, .pth and .safetensors, read without running code that they may carry."""

import hashlib
import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lits_runtime.errors import CheckpointError
from lits_runtime.files.regular_file import read_bounded
from lits_runtime.messages import brief
from lits_train.given_files import strict_json

MAX_WEIGHTS_BYTES = 2**30
"""Fifty times the size of a checkpoint with optimizer state."""
_MOST_VALUES = 1_000_000
"""Values in a checkpoint; one that is referenced twice counts twice."""
_MAX_DEPTH = 20
SAFE_TORCH = "2.10"
"""Before it, `weights_only=True` could be bypassed."""
_GLOBAL = re.compile(r"(?:GLOBAL|class|function) ([A-Za-z_]\w*\.[\w.]+)")


def read_weights(path: Path, sha256_start: str = "") -> tuple[Any, str]:
    """The content of a weight file, and its SHA-256.

    A .safetensors file yields the same as a .pth: tensors by name, or a checkpoint if its metadata
    contain a recipe as JSON under "recipe".

    Args:
        path: of the file.
        sha256_start: required start of its SHA-256.

    Raises:
        CheckpointError: damaged, too large, not a regular file, of another SHA-256, or holding
            more than tensors and plain values; or this torch is too old to read it safely.
        FileNotFoundError: there is no such file.
    """
    data = read_bounded(path, MAX_WEIGHTS_BYTES, CheckpointError)
    sha256 = hashlib.sha256(data).hexdigest()
    if not sha256.startswith(sha256_start):
        raise CheckpointError(
            f"{path}: its SHA-256 begins with {sha256[: len(sha256_start)]}, expected "
            f"{sha256_start}: another file under this name. It was not loaded; remove it"
        )
    try:
        content = _from_safetensors(data) if _is_safetensors(data) else _from_torch(data)
        _check_tensors(content)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return content, sha256


def _is_safetensors(data: bytes) -> bool:
    """Whether the data begin with eight bytes of length and a JSON object."""
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") < len(data)


def _from_safetensors(data: bytes) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)
        header = strict_json(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = header.get("__metadata__", {})
        settings = {
            key: strict_json(metadata[key]) for key in ("recipe", "training") if key in metadata
        }
    except (SafetensorError, ValueError, RecursionError) as error:
        raise CheckpointError(f"damaged, or not a .safetensors file: {brief(error)}") from error
    return {**settings, "state_dict": tensors} if "recipe" in settings else tensors


def _from_torch(data: bytes) -> Any:
    if torch.__version__ < SAFE_TORCH:  # TorchVersion compares numerically
        raise CheckpointError(
            f"torch {torch.__version__} may run code hidden in a .pth (CVE-2025-32434, "
            "CVE-2026-24747): pip install 'torch>=2.10', or use .safetensors"
        )
    if data[:4] == b"PK\x03\x04":
        _check_archive(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error below is clearer
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make torch.load raise all kinds of errors
        raise CheckpointError(_reason(error)) from error


def _check_tensors(content: Any) -> None:
    """Refuse small files that claim huge contents: endless values, or tensors without storage.

    A pickle can nest references to one list until they are millions, or declare a tensor of any
    shape over a single number. Walking or copying those would never end, or exhaust memory.
    """
    waiting, seen = [(content, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if seen > _MOST_VALUES or depth > _MAX_DEPTH:
            raise CheckpointError("holds more values, or nests them deeper, than a checkpoint does")
        if isinstance(value, Mapping):
            waiting += [(part, depth + 1) for pair in value.items() for part in pair]
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += [(part, depth + 1) for part in value]
        elif isinstance(value, torch.Tensor) and not _has_memory(value):
            shape = tuple(value.shape)
            raise CheckpointError(f"a tensor of shape {shape} whose storage is smaller than that")


def _has_memory(tensor: torch.Tensor) -> bool:
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        return True  # `misfit` refuses it
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _reason(error: Exception) -> str:
    """A message of our own: torch's advises loading the file unsafely."""
    if found := _GLOBAL.search(str(error)):
        return (
            f"refused: it refers to {found[1]}, and only tensors and plain values are allowed; "
            "none of its code was run. Save model.state_dict() instead of the model"
        )
    if isinstance(error, pickle.UnpicklingError):
        return (
            "refused: it is damaged, not a weight file, or a pickle of more than tensors and plain "
            "values; none of its code was run"
        )
    return f"truncated, damaged or not a weight file ({type(error).__name__}: {brief(error)})"


def _check_archive(data: bytes) -> None:
    """Check what torch does not: checksums, and archives that expand without bound."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise CheckpointError("a compressed archive, which torch never writes")
            if sum(entry.file_size for entry in entries) > len(data):
                raise CheckpointError("an archive whose entries claim to be larger than the file")
            damaged = archive.testzip()
    except CheckpointError:
        raise
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"truncated or damaged: {brief(error)}") from error
    if damaged is not None:
        raise CheckpointError(f"damaged: the checksum of {brief(damaged)} does not match")
