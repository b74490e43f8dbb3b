"""Workers die, the server ends and the disk is full in the middle of jobs: none is lost."""

import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lits_runtime import Segmenter
from support.files.scans import load_nifti, random_hu, save
from support.services.served import Server

EYE = np.diag([1.0, 1, 2, 1])


def scan_of(folder: Path, seed: int) -> Path:
    """A scan that takes about half a second, with labels of its own."""
    return save(folder / f"{seed}.nii", np.tile(random_hu((64, 64, 8), seed), (1, 1, 60)), EYE)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("scans")
    return [scan_of(folder, seed) for seed in range(3)]


@pytest.fixture(scope="module")
def expected(scans: list[Path], tiny_model_path: Path) -> list[Any]:
    with Segmenter.open(tiny_model_path) as segmenter:
        return [segmenter.segment(scan).labels for scan in scans]


def mask_of(server: Server, job_id: str, folder: Path) -> Any:
    path = folder / f"{job_id}.nii.gz"
    path.write_bytes(server.http.get(f"{server.url}/api/jobs/{job_id}/mask.nii.gz").content)
    return np.asarray(load_nifti(path).dataobj)


def kill_worker(server: Server) -> None:
    for pid in server.worker_pids():
        os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_job_that_kills_each_worker_fails_with_the_reason(
    scans: list[Path], tmp_path: Path, tiny_model_path: Path
) -> None:
    arguments = ("-m", tiny_model_path, "--attempts", 2, "--threads", 1)
    with Server(tmp_path / "state", *arguments) as server:
        long = save(tmp_path / "long.nii", np.tile(random_hu((128, 128, 8)), (1, 1, 200)), EYE)
        job_id, after = server.accepted(long), server.accepted(scans[0])
        for attempt in (1, 2):
            while server.job(job_id)["attempts"] < attempt or not server.job(job_id)["progress"]:
                time.sleep(0.01)
            kill_worker(server)
        failed = server.wait_for(job_id, "failed", "done")
        assert failed["state"] == "failed"
        assert "killed by signal 9" in failed["error"] and "2 attempts" in failed["error"]
        server.wait_for(after, "done")
        assert server.http.get(f"{server.url}/readyz").status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("grace, state", [("0s", "queued"), ("60s", "done")])
def test_sigterm_finishes_or_hands_back_the_job_in_hand(
    grace: str, state: str, scans: list[Path], tmp_path: Path, tiny_model_path: Path
) -> None:
    arguments = ("-m", tiny_model_path, "--grace", grace, "--threads", 1)
    with Server(tmp_path / "state", *arguments) as server:
        long = save(tmp_path / "long.nii", np.tile(random_hu((128, 128, 8)), (1, 1, 100)), EYE)
        job_id, after = server.accepted(long), server.accepted(scans[0])
        while not server.job(job_id)["progress"]:
            time.sleep(0.01)
        workers = server.worker_pids()
        assert server.end(signal.SIGTERM) == 0
        assert len(workers) == 1 and not Path(f"/proc/{workers[0]}").exists()
        audited = (server.state / "audit.log").exists()
        assert audited == (state == "done")
        server.start()
        done = server.wait_for(job_id, "done")
        assert done["attempts"] == 1, "an orderly end is not the job's fault"
        server.wait_for(after, "done")


@pytest.mark.slow
def test_a_full_disk_delays_the_queue_and_loses_nothing(
    scans: list[Path], expected: list[Any], tmp_path: Path, tiny_model_path: Path
) -> None:
    """Files of the server cannot grow, as on a full disk, while the worker ends a job."""
    with Server(tmp_path / "state", "-m", tiny_model_path, "--threads", 1) as server:
        job_id = server.accepted(scans[0])
        before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1, before[1]))
        assert server.send(scans[1]).status_code == 507
        time.sleep(2)
        assert server.job(job_id)["state"] in ("queued", "running")
        assert server.http.get(f"{server.url}/healthz").status_code == 200
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)
        server.wait_for(job_id, "done")
        assert np.array_equal(mask_of(server, job_id, tmp_path), expected[0])
        server.wait_for(server.accepted(scans[1]), "done")
        assert not list((server.state / "incoming").iterdir())
