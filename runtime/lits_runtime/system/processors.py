"""The number of processors that this process may use, which in a container is not the host's."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")
"""Where /proc and /sys are; tests use their own."""
_CGROUPS = "sys/fs/cgroup"


def usable_processors() -> int:
    """Processors by affinity and by cgroup quota (v2 and v1), at least 1."""
    count = allowed_processors()
    quota = cgroup_quota()
    return max(1, min(count, math.ceil(quota)) if quota else count)


def allowed_processors() -> int:
    """Processors by affinity if the system has affinities, else all."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13; respects PYTHON_CPU_COUNT too
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cgroup_quota() -> float | None:
    """The CPU quota of this process's cgroups, in processors; None if there is no limit.

    A cgroup is also bounded by those above it, so the smallest quota counts. Inside a cgroup
    namespace, as in most containers, the process's own cgroup is mounted as the root; elsewhere
    (Slurm, systemd slices) /proc/self/cgroup says where it lies below the root.
    """
    quotas = [quota for folder in _cgroups() if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _cgroups() -> Iterator[Path]:
    """The folders of this process's cgroups that limit CPU time, and of all above them."""
    mount = ROOT / _CGROUPS
    try:
        lines = (ROOT / "proc/self/cgroup").read_text().splitlines()
    except (OSError, ValueError):
        lines = []
    for line in ("0::/", ":cpu:/", *lines):
        _, _, rest = line.partition(":")
        controllers, _, place = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        tops = [mount / controllers, mount / "cpu"] if controllers else [mount, mount / "unified"]
        parts = [part for part in PurePosixPath(place).parts if part not in ("/", "..")]
        for top in dict.fromkeys(tops):
            for depth in range(len(parts) + 1):
                yield top.joinpath(*parts[:depth])


def _quota(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        granted = float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max" is not a number
        return None
    return granted if granted > 0 and math.isfinite(granted) else None
