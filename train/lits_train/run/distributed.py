"""Several processes that train as one: started by torchrun, equal to one process with all slices.

Sums of the loss and of batch normalisation are taken over all processes and differentiated through,
so that each process holds the loss of the whole batch; averaged gradients are then the true ones.
"""

import hashlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from lits_runtime.cli.progress import Stop
from lits_runtime.errors import LitsError, TrainingError

_STOP = 1
"""What processes tell each other before a step: 0 go on, 1 stop, 2 + rank that rank failed."""
_Item = TypeVar("_Item")


class PatientStop(Stop):
    """A wish to stop that hears a signal once: torchrun repeats what the terminal already sent."""

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Take a signal."""
        self.signal_number = self.signal_number or number


@dataclass(frozen=True)
class Launch:
    """What torchrun says of this process in its environment."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Among the processes of this machine: the number of its GPU."""


def launched() -> Launch:
    """This process among those that torchrun started.

    Raises:
        TrainingError: the environment says something else than torchrun does.
    """
    names = {"rank": "RANK", "size": "WORLD_SIZE", "local_rank": "LOCAL_RANK"}
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return Launch()
    given = {field: os.environ.get(name, "") for field, name in names.items()}
    if not given["local_rank"]:
        given["local_rank"] = "0"
    if not all(re.fullmatch(r"\d{1,6}", value) for value in given.values()):
        found = ", ".join(f"{name}={os.environ.get(name, '')!r}" for name in names.values())
        raise TrainingError(
            f"{found}: expected whole numbers, as torchrun sets them; start with torchrun, or "
            "unset WORLD_SIZE to train in one process"
        )
    launch = Launch(**{field: int(value) for field, value in given.items()})
    if launch.rank >= launch.size:
        raise TrainingError(f"RANK={launch.rank} of WORLD_SIZE={launch.size}: expected less")
    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise TrainingError(
            f"WORLD_SIZE={launch.size} without {' and '.join(missing)}: start with torchrun, or "
            "unset WORLD_SIZE to train in one process"
        )
    return launch


def launched_together() -> bool:
    """Whether torchrun started this process beside others."""
    return launched().size > 1


def leads() -> bool:
    """Whether this process speaks for all."""
    return os.environ.get("RANK", "0") == "0"


@dataclass(frozen=True)
class World:
    """This process among those that train together."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def share(self, items: Sequence[_Item]) -> Sequence[_Item]:
        """This process's part of a sequence."""
        return items[self.rank :: self.size]

    def total(self, sums: Tensor) -> Tensor:
        """The sum over all processes; gradients flow back to each."""
        if self.size == 1:
            return sums
        added: Tensor = _Total.apply(sums)
        return added

    def add_up(self, *counts: Tensor) -> None:
        """Sum tensors over all processes, in place, without gradients."""
        if self.size > 1:
            for count in counts:
                distributed.all_reduce(count)

    def agree(self, stop: bool) -> bool:
        """Whether any process wants to stop; all processes call this together.

        Raises:
            TrainingError: a process failed instead of calling this.
        """
        if self.size == 1:
            return stop
        status = self._worst(_STOP if stop else 0)
        if status > _STOP:
            raise TrainingError(
                f"ended because process {status - _STOP - 1} failed; it says why itself"
            )
        return status == _STOP

    def gathered(self, item: _Item) -> list[_Item]:
        """What each process has, in the order of their ranks; all call this together."""
        if self.size == 1:
            return [item]
        items: list[Any] = [None] * self.size
        distributed.all_gather_object(items, item)
        return items

    @contextmanager
    def failing_together(self) -> Iterator[None]:
        """What is done alone before the next `agree`; an error here ends the others there."""
        try:
            yield
        except Exception:
            if self.size > 1:
                self._worst(_STOP + 1 + self.rank)
            raise

    def check_same(self, what: str, value: object) -> None:
        """Raise TrainingError unless all processes see the same value."""
        if self.size == 1:
            return
        digest = hashlib.sha256(repr(value).encode()).digest()[:7]
        number = int.from_bytes(digest, "big")
        extremes = torch.tensor([number, -number])
        distributed.all_reduce(extremes, distributed.ReduceOp.MAX)
        if int(extremes[0]) != -int(extremes[1]):
            raise TrainingError(f"the processes do not have the same {what}")

    def _worst(self, status: int) -> int:
        worst = torch.tensor(status)
        distributed.all_reduce(worst, distributed.ReduceOp.MAX)
        return int(worst)


@contextmanager
def processes(device: str) -> Iterator[World]:
    """Join the processes that torchrun started; without torchrun, be the only one.

    A program that trains more than once makes the process group itself, "cpu:gloo,cuda:nccl" or
    "gloo", and ends it itself: torch cannot reliably make a second one after the first.

    Raises:
        TrainingError: another process was lost. Other errors name the process where they arose.
    """
    if not launched_together():
        yield World(torch.device(device))
        return
    launch = launched()
    size, rank = launch.size, launch.rank
    if not distributed.is_available():
        raise TrainingError("this torch cannot train in several processes; start one alone")
    if device == "cuda":
        device = f"cuda:{launch.local_rank}"
        torch.cuda.set_device(device)
    if rank:
        for name in ("lits_train", "lits_runtime"):
            logging.getLogger(name).setLevel(logging.ERROR)
    ours = not distributed.is_initialized()
    if ours:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if "cuda" in device else "gloo")
    try:
        yield World(torch.device(device), rank, size)
    except LitsError as error:
        raise type(error)(f"process {rank}: {error}") from error
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        raise TrainingError(f"process {rank}: lost the others: {error}") from error
    if ours:  # not after an error: it would wait for the others
        distributed.destroy_process_group()


def synchronise(network: nn.Module, world: World) -> None:
    """Let the network's batch normalisation count over all processes."""
    if world.size == 1:
        return
    if world.device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = SummedBatchNorm
            module.world = world  # type: ignore[assignment]


def parallel(network: nn.Module, world: World) -> nn.Module:
    """What to call in training: the network, with gradients averaged over all processes."""
    if world.size == 1:
        return network
    devices = [world.device] if world.device.type == "cuda" else None
    return DistributedDataParallel(network, device_ids=devices)


class SummedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over all processes, for the CPU, where torch has none."""

    world: World

    def forward(self, features: Tensor) -> Tensor:
        """(n, channels, h, w) to the same."""
        if not self.training:
            return super().forward(features)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        assert self.num_batches_tracked is not None
        wide = features.to(torch.promote_types(features.dtype, torch.float32))
        count = self.world.total(wide.new_tensor(wide.numel() / wide.shape[1]))
        mean = self.world.total(wide.sum(dim=(0, 2, 3))) / count
        centred = wide - mean.view(1, -1, 1, 1)
        variance = self.world.total(centred.square().sum(dim=(0, 2, 3))) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked.add_(1)
        scale = self.weight * (variance + self.eps).rsqrt()
        scaled = centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return scaled.to(features.dtype)


class _Total(torch.autograd.Function):
    """Sum over all processes, forward and backward."""

    @staticmethod
    def forward(ctx: Any, sums: Tensor) -> Tensor:
        added = sums.detach().clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(added)
        return added

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        added = gradients[0].clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(added)
        return added


def _is_lost_connection(error: RuntimeError) -> bool:
    if isinstance(error, distributed.DistError):
        return True
    return "gloo" in str(error).lower() or "connection" in str(error).lower()
