"""Ray clusters for tests: several nodes of one processor each on this machine's loopback."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from lits_runtime.batch.ray_engine import cluster as our_cluster  # before ray: sends nothing home

import ray  # isort: skip
from ray.cluster_utils import Cluster  # isort: skip

LOOPBACK = "127.0.0.1"
Started = TypeVar("Started")


@contextmanager
def ray_cluster(processors: int) -> Iterator[Cluster]:
    """One machine with so many processors, to which others can be added; this process is in it."""
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0", our_cluster.__name__
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    head = {"num_cpus": processors, "include_dashboard": False, "node_ip_address": LOOPBACK}
    cluster = _patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
    try:
        ray.init(cluster.address, log_to_driver=False, _node_ip_address=LOOPBACK)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def add_node(cluster: Cluster) -> Any:
    """One more machine, with one processor."""
    return _patiently(lambda: cluster.add_node(num_cpus=1, node_ip_address=LOOPBACK))


def _patiently(start: Callable[[], Started]) -> Started:
    """Ray gives a machine 30 s to start, which is not enough for one that is busy."""
    for left in reversed(range(4)):
        try:
            return start()
        except Exception as error:
            if not left or "timed out during startup" not in str(error):
                raise
    raise AssertionError
