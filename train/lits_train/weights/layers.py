"""A state dict as a row of convolutions, each with its bias and the norm behind it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

_NORM = {"running_mean", "running_var"}
_COUNTER = "num_batches_tracked"
_UP_FIRST = re.compile(r"^(.*up.*|.*deconv.*|.*transpose.*|tconv.*)$", re.IGNORECASE)


@dataclass
class Unit:
    """A convolution of a file, plain or transposed, and the batch norm behind it."""

    name: str
    """Of the module."""
    weight: Tensor
    bias: Tensor | None = None
    norm_name: str = ""
    norm: dict[str, Tensor] = field(default_factory=dict)
    """Empty without a norm."""

    @property
    def last(self) -> str:
        """The name of the module that comes last in it."""
        return self.norm_name or self.name

    @property
    def shape(self) -> str:
        """The shape of the weights, as tables show it."""
        return " x ".join(map(str, self.weight.shape))


class NotALayer(ValueError):
    """A module that is no convolution and no norm behind one: its name, and why."""


def modules_of(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors of each module, by the module's name and theirs."""
    modules: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        module, _, leaf = name.rpartition(".")
        modules.setdefault(module, {})[leaf] = tensor
    return modules


def orders(modules: Mapping[str, Any]) -> Iterator[tuple[list[str], str]]:
    """Orders that the modules may run in, and what each assumes.

    A .pth file lists modules as they were defined, a .safetensors file by name, so that "10" comes
    before "2".
    """
    names = list(modules)
    yield names, ""
    if names == sorted(names):
        parts = {name: [_numbered(part) for part in name.split(".")] for name in names}
        yield sorted(names, key=parts.__getitem__), ""
    how = "layers run in the order of the numbers in their names, since the file's does not fit"
    yield sorted(names, key=_by_numbers), how
    yield sorted(names, key=lambda name: _by_numbers(name, reverse=True)), how


def _numbered(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isdecimal() else (-1, part)


def _by_numbers(name: str, reverse: bool = False) -> tuple[Any, ...]:
    """Blocks by number, what has none last; in a block the transposed convolution first."""
    numbers = [int(digits[:9]) for digits in re.findall(r"\d+", name)]
    first = numbers[0] if numbers else 10**9
    later = not _UP_FIRST.match(name.rpartition(".")[2])
    return (-first if reverse and numbers else first, later, numbers[1:], name)


def units_of(modules: Mapping[str, Mapping[str, Tensor]], order: list[str]) -> list[Unit]:
    """The convolutions in the given order.

    Raises:
        NotALayer: a module is no convolution and no batch norm behind one.
    """
    units: list[Unit] = []
    for name in order:
        parts = {leaf: tensor for leaf, tensor in modules[name].items() if leaf != _COUNTER}
        weight = parts.get("weight")
        if weight is not None and weight.dim() == 4 and set(parts) <= {"weight", "bias"}:
            units.append(Unit(name, weight, parts.get("bias")))
        elif set(parts) >= _NORM and set(parts) <= {"weight", "bias", *_NORM}:
            if not units or units[-1].norm:
                raise NotALayer(f"{name}: a batch norm without a convolution before it")
            units[-1].norm_name, units[-1].norm = name, dict(parts)
        else:
            found = ", ".join(f"{leaf} {tuple(tensor.shape)}" for leaf, tensor in parts.items())
            raise NotALayer(f"{name}: {found}; no convolution and no batch norm")
    return units


def gap(before: str, name: str) -> int | None:
    """How many modules without weights lie between two, if they are numbered in one row.

    >>> gap("decoder.0", "decoder.2"), gap("up", "conv")
    (1, None)
    """
    first, second = before.rpartition("."), name.rpartition(".")
    if first[0] != second[0] or not (first[2].isdecimal() and second[2].isdecimal()):
        return None
    return max(int(second[2]) - int(first[2]) - 1, 0)
