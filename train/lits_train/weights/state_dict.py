"""State dicts in files from elsewhere: where they are, and how they differ from a network's."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lits_runtime.errors import CheckpointError
from lits_runtime.messages import brief

AVERAGED = ("ema", "averaged", "shadow", "swa")
"""Parts of keys under which averaged weights are saved, which are those to use."""
KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params")
"""Keys under which training scripts save weights among other things, the likeliest first."""
NOT_WEIGHTS = ("optim", "sched", "scaler", "callback", "loop", "hyper", "config", "args", "metric")
PREFIXES = ("module.", "_orig_mod.")
"""Prefixes that DataParallel and torch.compile add to every name."""
_MAX_DEPTH = 4
_MOST_NAME = 500
_SHOWN = 3


@dataclass(frozen=True)
class Found:
    """A state dict in a file's content."""

    tensors: dict[str, Tensor]
    """By name, as in the file but for a prefix that all of them had."""
    key: str
    """Where it is: "" at the top level, or as "ema.model"."""
    prefix: str = ""
    others: tuple[str, ...] = ()
    """Keys of further state dicts, which were not taken."""

    @property
    def place(self) -> str:
        """Where it is, in words."""
        parts = [f"under {self.key!r}"] if self.key else []
        parts += [f"prefix {self.prefix!r}"] if self.prefix else []
        parts += [f"not taken: {', '.join(map(repr, self.others))}"] if self.others else []
        return f" ({', '.join(parts)})" if parts else ""


def find_state_dict(content: Any, key: str = "") -> Found | None:
    """The tensors by name in a file's content; None without any.

    Of several state dicts, averaged weights are taken before others, and then in the order of
    `KEYS`; parts saved side by side, such as "encoder" and "decoder", are joined.

    Args:
        content: of the file.
        key: the one to take, or the start of the names to take; "" for the likeliest.

    Raises:
        CheckpointError: there is nothing of that key, or a name is endless.
    """
    found = dict(_candidates(content, ()))
    if key:
        return _of_key(found, key)
    if not found:
        return None
    names = {path[-1].lower() for path in found if path}
    if any(n.startswith("enc") for n in names) and any(n.startswith("dec") for n in names):
        joined = {
            ".".join([*path, name]): tensor
            for path, tensors in found.items()
            for name, tensor in tensors.items()
        }
        return _without_prefix(joined, "", ())
    best, *others = sorted(found, key=_likelihood)
    return _without_prefix(found[best], ".".join(best), tuple(map(".".join, others)))


def _of_key(found: Mapping[tuple[str, ...], dict[str, Tensor]], key: str) -> Found:
    for path, tensors in found.items():
        if ".".join(path) == key:
            return _without_prefix(tensors, key, ())
    for path, tensors in found.items():
        part = {name: one for name, one in tensors.items() if name.startswith(f"{key}.")}
        if part:
            return _without_prefix(part, ".".join(path), ())
    raise CheckpointError(f"no weights under the key {brief(key)!r}; found {_some_keys(found)}")


def _some_keys(found: Mapping[tuple[str, ...], Mapping[str, Tensor]]) -> str:
    starts = {name.partition(".")[0] for tensors in found.values() for name in tensors}
    keys = [".".join(path) for path in found if path] + sorted(starts)
    return ", ".join(map(brief, keys[:10])) or "none"


def _candidates(
    content: Any, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    if not isinstance(content, Mapping) or len(path) > _MAX_DEPTH:
        return
    if not all(isinstance(name, str) for name in content):
        return
    if any(len(name) > _MOST_NAME for name in content):
        raise CheckpointError(f"names of more than {_MOST_NAME} characters, which no tensor has")
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if any(tensor.dim() == 4 for tensor in tensors.values()):
        yield path, tensors
    for name, value in content.items():
        if not any(word in name.lower() for word in NOT_WEIGHTS):
            yield from _candidates(value, (*path, name))


def _likelihood(path: tuple[str, ...]) -> tuple[bool, int, int]:
    averaged = any(word in part.lower() for part in path for word in AVERAGED)
    rank = min((KEYS.index(part) for part in path if part in KEYS), default=len(KEYS))
    return not averaged, rank if path else -1, len(path)


def _without_prefix(tensors: dict[str, Tensor], key: str, others: tuple[str, ...]) -> Found:
    """Without the first parts of the names that all tensors share but counters of averaging."""
    tensors = {
        name.replace("_orig_mod.", ""): value
        for name, value in tensors.items()
        if name.rpartition(".")[2] != "n_averaged"
    }
    prefix = ""
    while len(starts := {name.partition(".")[0] for name in tensors}) == 1:
        start = f"{starts.pop()}."
        if not all(name.startswith(start) for name in tensors):
            break
        tensors = {name.removeprefix(start): value for name, value in tensors.items()}
        prefix += start
    return Found(tensors, key, prefix, others)


def our_names(content: Any) -> dict[str, Tensor] | None:
    """The tensors under "state_dict" of one of our checkpoints; None if there are others."""
    state = content.get("state_dict") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state:
        return None
    if not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        return None
    found: dict[str, Tensor] = dict(state)
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in found)), None):
        found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


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
        unusable = [name for name in expected if not usable(state[name])]
        parts = [("not plain finite numbers", unusable)]
    found = [f"{len(names)} {what} ({_some(names)})" for what, names in parts if names]
    if not found:
        return ""
    return f"{len(expected)} tensors expected, {len(state)} found: {', '.join(found)}"


def usable(tensor: Tensor) -> bool:
    """Whether a tensor holds plain finite numbers in memory."""
    if tensor.device.type != "cpu" or tensor.layout != torch.strided or tensor.is_quantized:
        return False
    return not tensor.is_complex() and bool(torch.isfinite(tensor).all())


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown}, ..." if len(names) > _SHOWN else shown
