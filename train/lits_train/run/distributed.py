"""Training in several processes, started by torchrun, each with its share of every batch.

The sums in the loss are taken over all processes, so that every process has the loss and the
gradients of the whole batch. So are the statistics of batch normalisation on GPUs; on the CPU,
where torch cannot, each process normalises its own share, and the first one's statistics are kept.
"""

import hashlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from lits_runtime.errors import LitsError, TrainingError

_STOP = 1
"""Status that processes exchange before a step: 0 continue, 1 stop, 2 + rank if that one failed."""
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Launch:
    """This process among those that torchrun started, from its environment."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Rank among the processes of this machine, which is the number of its GPU."""


def launched() -> Launch:
    """Read what torchrun set in the environment.

    Raises:
        TrainingError: the environment is not what torchrun sets.
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
            f"{found}: expected whole numbers, as set by torchrun; start with torchrun, or "
            "unset WORLD_SIZE to train in one process"
        )
    launch = Launch(**{field: int(value) for field, value in given.items()})
    if launch.rank >= launch.size:
        raise TrainingError(f"RANK={launch.rank} must be less than WORLD_SIZE={launch.size}")
    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise TrainingError(
            f"WORLD_SIZE={launch.size} without {' and '.join(missing)}: start with torchrun, or "
            "unset WORLD_SIZE to train in one process"
        )
    return launch


def launched_together() -> bool:
    """Whether torchrun started more than this process."""
    return launched().size > 1


def leads() -> bool:
    """Whether this is the process that reports."""
    return os.environ.get("RANK", "0") == "0"


@dataclass(frozen=True)
class World:
    """The processes that train together, and this one among them."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def share(self, items: Sequence[_Item]) -> Sequence[_Item]:
        """This process's share of a sequence."""
        return items[self.rank :: self.size]

    def total(self, sums: Tensor) -> Tensor:
        """Sum over all processes, with a gradient in each."""
        if self.size == 1:
            return sums
        added = sums.detach().clone()
        distributed.all_reduce(added)
        scaled = sums * self.size  # because DistributedDataParallel averages the gradients
        return added + (scaled - scaled.detach())

    def add_up(self, *counts: Tensor) -> None:
        """Sum tensors over all processes, in place and without gradients."""
        if self.size > 1:
            for count in counts:
                distributed.all_reduce(count)

    def agree(self, stop: bool) -> bool:
        """Whether any process wants to stop; all of them must call this.

        Raises:
            TrainingError: another process failed.
        """
        if self.size == 1:
            return stop
        status = self._worst(_STOP if stop else 0)
        if status > _STOP:
            raise TrainingError(
                f"stopped because process {status - _STOP - 1} failed; see its own error"
            )
        return status == _STOP

    def gathered(self, item: _Item) -> list[_Item]:
        """The items of all processes, by rank; all of them must call this."""
        if self.size == 1:
            return [item]
        items: list[Any] = [None] * self.size
        distributed.all_gather_object(items, item)
        return items

    @contextmanager
    def failing_together(self) -> Iterator[None]:
        """Make an error in this process end the others at their next `agree`."""
        try:
            yield
        except Exception:
            if self.size > 1:
                self._worst(_STOP + 1 + self.rank)
            raise

    def check_same(self, what: str, value: object) -> None:
        """Raise TrainingError unless the value is the same in all processes."""
        if self.size == 1:
            return
        digest = hashlib.sha256(repr(value).encode()).digest()[:7]
        number = int.from_bytes(digest, "big")
        extremes = torch.tensor([number, -number])
        distributed.all_reduce(extremes, distributed.ReduceOp.MAX)
        if int(extremes[0]) != -int(extremes[1]):
            raise TrainingError(f"the processes differ in {what}")

    def share_buffers(self, network: nn.Module) -> None:
        """Copy the first process's buffers, such as statistics of normalisation, to all."""
        if self.size > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, 0)

    def _worst(self, status: int) -> int:
        worst = torch.tensor(status)
        distributed.all_reduce(worst, distributed.ReduceOp.MAX)
        return int(worst)


@contextmanager
def processes(device: str) -> Iterator[World]:
    """Join the processes that torchrun started, if it did.

    A program that trains more than once must create and destroy the process group itself
    ("cpu:gloo,cuda:nccl" or "gloo"): torch cannot reliably create a second one.

    Raises:
        TrainingError: another process was lost. Other errors name the process that raised them.
    """
    if not launched_together():
        yield World(torch.device(device))
        return
    launch = launched()
    size, rank = launch.size, launch.rank
    if not distributed.is_available():
        raise TrainingError("this torch cannot train in several processes; start only one")
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
        raise TrainingError(f"process {rank}: lost the connection: {error}") from error
    if ours:  # not after an error, when it would wait for the others
        distributed.destroy_process_group()


def synchronise(network: nn.Module, world: World) -> None:
    """Compute batch normalisation over all processes, on GPUs."""
    if world.size > 1 and world.device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)


def parallel(network: nn.Module, world: World) -> nn.Module:
    """The network to call in training, whose gradients are averaged over all processes."""
    if world.size == 1:
        return network
    devices = [world.device] if world.device.type == "cuda" else None
    return DistributedDataParallel(network, device_ids=devices)


def _is_lost_connection(error: RuntimeError) -> bool:
    # gloo raises a plain RuntimeError that quotes its source file
    return isinstance(error, distributed.DistError) or "gloo" in str(error).lower()
