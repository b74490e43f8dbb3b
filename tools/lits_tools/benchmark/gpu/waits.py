"""How often a GPU would make the host wait, counted in what a CPU runs."""

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_WAITING = (
    *("nonzero", "masked_select", "_unique2", "unique_dim", "bincount"),  # of unknown size
    *("_local_scalar_dense", "equal"),  # read by the host
)
_INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_")
_COPYING = (torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.cpu)


def count_waits(action: Callable[[], object]) -> int:
    """How often an action reads values of tensors, or indexes by masks, which are counted first.

    Copies to the device are not seen where there is none.
    """
    operators, copies = _Operators(), _Copies()
    with operators, copies:
        action()
    return operators.count + copies.count


class _Operators(TorchDispatchMode):
    """Counts operators after which the host waits."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Count, and compute as usual."""
        name = func.overloadpacket.__name__
        self.count += name in _WAITING or (name in _INDEXING and _by_mask(args[1]))
        return func(*args, **(kwargs or {}))


class _Copies(TorchFunctionMode):
    """Counts copies to the host that are no operators on a CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Count, and compute as usual."""
        self.count += func in _COPYING
        return func(*args, **(kwargs or {}))


def _by_mask(indices: Any) -> bool:
    return any(one is not None and one.dtype in (torch.bool, torch.uint8) for one in indices)
