"""Files of weights, read without running code that they may carry: .pth and .safetensors."""

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
from lits_runtime.messages import brief
from lits_train.given_files import read_bytes, strict_json

MAX_WEIGHTS_BYTES = 2**30
"""Fifty times a checkpoint with the optimizer's state."""
_MOST_VALUES = 1_000_000
"""Of a checkpoint, counted as often as they are reached."""
_DEEPEST = 20
SAFE_TORCH = "2.10"
"""Before it, `weights_only=True` could be bypassed."""
_GLOBAL = re.compile(r"(?:GLOBAL|class|function) ([A-Za-z_]\w*\.[\w.]+)")


def read_weights(path: Path, sha256_start: str = "") -> tuple[Any, str]:
    """The content of a file of weights, and its SHA-256.

    A .safetensors file gives what the same weights give in a .pth: the tensors by name, or, if its
    metadata hold the JSON of a recipe under "recipe", a checkpoint with these settings.

    Args:
        path: of the file.
        sha256_start: what its SHA-256 must begin with.

    Raises:
        CheckpointError: damaged, too large, no regular file, of another SHA-256, or holding more
            than tensors and plain values; or this torch is too old to tell safely.
        FileNotFoundError: there is no such file.
    """
    data = read_bytes(path, MAX_WEIGHTS_BYTES, CheckpointError)
    sha256 = hashlib.sha256(data).hexdigest()
    if not sha256.startswith(sha256_start):
        raise CheckpointError(
            f"{path}: its SHA-256 begins with {sha256[: len(sha256_start)]}, expected "
            f"{sha256_start}: another file under this name; nothing of it was read. Remove it"
        )
    try:
        content = _from_safetensors(data) if _is_safetensors(data) else _from_torch(data)
        _check_tensors(content)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return content, sha256


def _is_safetensors(data: bytes) -> bool:
    """Eight bytes of length, then a JSON object."""
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


def _check_tensors(content: Any) -> None:
    """Refuse what a small file can claim to hold: endless values, and tensors without memory.

    A pickle may hold one list a million times, in lists of lists; and a tensor of any shape over a
    single number. What walks or copies those never ends, or takes all memory.
    """
    waiting, seen = [(content, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if seen > _MOST_VALUES or depth > _DEEPEST:
            raise CheckpointError("holds more values, or deeper nested, than a checkpoint has")
        if isinstance(value, Mapping):
            waiting += [(part, depth + 1) for pair in value.items() for part in pair]
        elif isinstance(value, list | tuple | set | frozenset):
            waiting += [(part, depth + 1) for part in value]
        elif isinstance(value, torch.Tensor) and not _has_memory(value):
            shape = tuple(value.shape)
            raise CheckpointError(f"a tensor of shape {shape} over fewer numbers than that")


def _has_memory(tensor: torch.Tensor) -> bool:
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        return True  # refused where weights are asked for
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


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
