"""Processors that a cgroup grants, in made-up file systems of containers, Slurm and systemd."""

import os
from pathlib import Path

import pytest

from lits_runtime.system import processors
from lits_runtime.system.processors import allowed_processors, cgroup_quota, usable_processors

V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/cpu,cpuacct"
CASES: dict[str, tuple[dict[str, str], float | None]] = {
    "no cgroups, as on macOS": ({}, None),
    "a container of its own namespace": (
        {"proc/self/cgroup": "0::/\n", f"{V2}/cpu.max": "150000 100000\n"},
        1.5,
    ),
    "a systemd slice": (
        {
            "proc/self/cgroup": "0::/user.slice/user-7.slice/run.scope\n",
            f"{V2}/user.slice/user-7.slice/run.scope/cpu.max": "200000 100000\n",
        },
        2.0,
    ),
    "the least of a nest counts": (
        {
            "proc/self/cgroup": "0::/system.slice/slurmstepd.scope/job_5/step_0\n",
            f"{V2}/system.slice/cpu.max": "800000 100000\n",
            f"{V2}/system.slice/slurmstepd.scope/job_5/cpu.max": "300000 100000\n",
            f"{V2}/system.slice/slurmstepd.scope/job_5/step_0/cpu.max": "max 100000\n",
        },
        3.0,
    ),
    "no limit": ({"proc/self/cgroup": "0::/a\n", f"{V2}/a/cpu.max": "max 100000\n"}, None),
    "Slurm on v1": (
        {
            "proc/self/cgroup": "4:memory:/slurm/a\n3:cpu,cpuacct:/slurm/uid_1/job_2\n0::/a\n",
            f"{V1}/cpu.cfs_quota_us": "-1\n",
            f"{V1}/cpu.cfs_period_us": "100000\n",
            f"{V1}/slurm/uid_1/cpu.cfs_quota_us": "250000\n",
            f"{V1}/slurm/uid_1/cpu.cfs_period_us": "100000\n",
            f"{V1}/slurm/uid_1/job_2/cpu.cfs_quota_us": "-1\n",
            f"{V1}/slurm/uid_1/job_2/cpu.cfs_period_us": "100000\n",
        },
        2.5,
    ),
    "v1 in a container, whose place is the host's": (
        {
            "proc/self/cgroup": "3:cpu,cpuacct:/docker/abc\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        0.5,
    ),
    "v1 and v2 side by side": (
        {
            "proc/self/cgroup": "2:cpu:/a\n0::/b\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "400000\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/unified/b/cpu.max": "100000 100000\n",
        },
        1.0,
    ),
    "another controller's cgroup is none": (
        {
            "proc/self/cgroup": "2:cpuset:/a\n",
            "sys/fs/cgroup/cpuset/a/cpu.cfs_quota_us": "100000\n",
            "sys/fs/cgroup/cpuset/a/cpu.cfs_period_us": "100000\n",
        },
        None,
    ),
    "above the namespace": (
        {"proc/self/cgroup": "0::/../other\n", f"{V2}/cpu.max": "100000 100000\n"},
        1.0,
    ),
    "nonsense": (
        {"proc/self/cgroup": "0::/\nx\n::\n", f"{V2}/cpu.max": "0 0\n"},
        None,
    ),
}


@pytest.mark.parametrize(("files", "quota"), CASES.values(), ids=CASES)
def test_quota_of_the_cgroup_that_the_process_is_in(
    files: dict[str, str], quota: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.setattr(processors, "ROOT", tmp_path)
    monkeypatch.setattr(processors, "allowed_processors", lambda: 16)
    assert cgroup_quota() == quota
    assert usable_processors() == (16 if quota is None else max(1, -int(-quota // 1)))


def test_systems_without_affinity_count_their_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("process_cpu_count", "sched_getaffinity"):
        monkeypatch.delattr(os, name, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert allowed_processors() == 12
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert allowed_processors() == 1
