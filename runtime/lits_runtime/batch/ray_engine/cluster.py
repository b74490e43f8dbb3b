"""The Ray cluster: connected to or started here, how many workers it has room for, who is alive."""

import logging
import os
import socket
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before ray is imported: nothing leaves
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "3")  # of 40 s each, if nothing answers: not 20

import ray

from lits_runtime.batch.settings import Settings
from lits_runtime.errors import EngineError
from lits_runtime.messages import brief

_LOCAL = "127.0.0.1"
_CONNECT_S = 10.0
_THREADS = 4
"""Of a worker without a GPU, if none are asked for: more processes rather than more threads."""


@dataclass(frozen=True)
class Share:
    """What a worker has of a machine."""

    cpus: int
    gpus: int

    def workers(self, resources: dict[str, float]) -> int:
        """How many workers fit into resources."""
        by_cpu = int(resources.get("CPU", 0) // self.cpus)
        return min(by_cpu, int(resources.get("GPU", 0) // self.gpus)) if self.gpus else by_cpu


def connect(address: str | None) -> bool:
    """Connect to a cluster, or start one on this machine's loopback; whether it was started.

    Raises:
        EngineError: none answers there.
    """
    if ray.is_initialized():
        return False
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        ray.init("local", include_dashboard=False, _node_ip_address=_LOCAL, **quiet)
        return True
    _check_answers(address)
    try:
        ray.init(address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise EngineError(f"no Ray cluster answers at {address}: {brief(error)}") from error
    return True


def _check_answers(address: str) -> None:
    """Connect to HOST:PORT once: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
        except OSError as error:
            reason = error.strerror or error
            raise EngineError(f"no Ray cluster answers at {address}: {reason}") from error


def share_of(settings: Settings) -> Share:
    """A worker's share: a GPU where the provider needs or finds one, or some processors."""
    nodes = [node["Resources"] for node in _alive()]
    has_gpus = any(node.get("GPU", 0) for node in nodes)
    on_gpu = settings.provider in ("cuda", "tensorrt") or (settings.provider == "auto" and has_gpus)
    largest = max((int(node.get("CPU", 0)) for node in nodes), default=0)
    if settings.threads is not None:
        return Share(settings.threads, int(on_gpu))
    return Share(max(1, min(_THREADS, largest)), int(on_gpu))


def capacity(share: Share) -> int:
    """For how many workers the machines that are alive have room."""
    return sum(share.workers(node["Resources"]) for node in _alive())


def is_alive(node: str) -> bool:
    """Whether a machine is in the cluster."""
    return any(one["NodeID"] == node for one in _alive())


def _alive() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"]]
