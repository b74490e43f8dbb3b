"""State dicts in files from elsewhere: where they are, and how they differ from a network's."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

WRAPPERS = ("state_dict", "model_state_dict")
"""Keys under which training scripts save weights among other things."""
PREFIXES = ("module.", "_orig_mod.")
"""Prefixes that DataParallel and torch.compile add to every name."""
_SHOWN = 3


def find_state_dict(content: Any) -> dict[str, Tensor] | None:
    """The tensors by name in a file's content, without wrappers and prefixes; None without any."""
    if not isinstance(content, Mapping):
        return None
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    state = dict(content)
    if not state or not all(isinstance(name, str) for name in state):
        return None
    if not all(isinstance(value, Tensor) for value in state.values()):
        return None
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in state)), None):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def misfit(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """How a state dict differs from a network's; empty if it fits and all values are finite."""
    shapes = [
        f"{name} {tuple(state[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    parts = [
        ("missing", [name for name in expected if name not in state]),
        ("unknown", [name for name in state if name not in expected]),
        ("of another shape", shapes),
    ]
    if not any(names for _, names in parts):
        unusable = [name for name in expected if not _usable(state[name])]
        parts = [("not plain finite numbers", unusable)]
    found = [f"{len(names)} {what} ({_some(names)})" for what, names in parts if names]
    if not found:
        return ""
    return f"{len(expected)} tensors expected, {len(state)} found: {', '.join(found)}"


def _usable(tensor: Tensor) -> bool:
    if tensor.device.type != "cpu" or tensor.layout != torch.strided or tensor.is_quantized:
        return False
    return not tensor.is_complex() and bool(torch.isfinite(tensor).all())


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown}, ..." if len(names) > _SHOWN else shown
