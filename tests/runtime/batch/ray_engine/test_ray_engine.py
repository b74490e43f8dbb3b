"""Ray: the files of the local engine, whatever becomes of workers and machines."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lits_runtime import EngineError, QuarantineError
from lits_runtime.batch import Outcome, Settings, run_batch
from lits_runtime.batch.failures import read_failure
from lits_runtime.batch.job import Job
from lits_runtime.batch.jobs import plan
from lits_runtime.phantom.ct import make_phantom, write_phantom
from support.batches import contents, litter, settings
from support.deadly import DeadlyPath
from support.files.scans import write_scan
from support.paths import SHARED_DATA
from support.services.load import resident_mb

pytestmark = pytest.mark.slow
ROUNDS = int(os.environ.get("LITS_TEST_RAY_ROUNDS", "1"))
"""How often a machine is removed and a worker killed at random moments; the full run takes 20."""
SCANS = int(os.environ.get("LITS_TEST_RAY_SCANS", "14"))
"""In the folder that all engines segment; the full run takes 60."""
TINY = int(os.environ.get("LITS_TEST_TINY_SCANS", "60"))
"""Over which memory must not grow; the full run takes 2000."""
SEED = int(os.environ.get("LITS_TEST_SEED", "19"))
_TIMES = ("finished", "seconds")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from support.services.ray_clusters import ray_cluster

    with ray_cluster(processors=2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise, phantoms and, where they are at hand, crops of real CT; three are broken."""
    folder = tmp_path_factory.mktemp("archive")
    for seed in range(SCANS - 6):
        write_scan(folder / f"noise/{seed:02}.nii.gz", seed, (48, 40, 12 + seed % 5))
    for seed in range(3):
        phantom = make_phantom(seed, matrix=64, slices=8, lesions=2)
        write_phantom(folder, seed, phantom, gzip=True)
    sound = (folder / "noise/00.nii.gz").read_bytes()
    (folder / "noise/cut.nii.gz").write_bytes(sound[: len(sound) // 2])
    (folder / "text.nii").write_text("no scan at all")
    (folder / "empty.nii.gz").touch()
    for number, path in enumerate(sorted(SHARED_DATA.glob("lits_crop/volume-*.nii.gz"))[:1]):
        (folder / f"real{number}.nii.gz").write_bytes(path.read_bytes())
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from support.networks.tiny_models import positional_model

    path = tmp_path_factory.mktemp("model") / "positional.onnx"
    path.write_bytes(positional_model())
    return path


@pytest.fixture(scope="module")
def by_local(archive: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("local")
    list(run_batch(plan([archive], out), settings(model)))
    return out


def on_ray(
    jobs: Sequence[Job], settings: Settings, disturb: Any = None, **options: Any
) -> list[Outcome]:
    """All outcomes; `disturb` is called with the engine after each."""
    from lits_runtime.batch.ray_engine.engine import RayEngine, RayOptions

    engine = RayEngine.open(settings, RayOptions(**options))
    outcomes = []
    for outcome in run_batch(jobs, settings, engine=engine):
        outcomes.append(outcome)
        if disturb is not None:
            disturb(engine, len(outcomes))
    return outcomes


def without_times(folder: Path) -> dict[str, Any]:
    """Masks as bytes, records without their times."""
    found: dict[str, Any] = {}
    for name, content in contents(folder).items():
        found[name] = content
        if name.endswith(".json"):
            found[name] = {k: v for k, v in json.loads(content).items() if k not in _TIMES}
            found[name].pop("at", None)
            found[name].pop("attempts", None)
            found[name].pop("deaths", None)  # of a worker that was killed with this job in hand
    return found


def counted(outcomes: Sequence[Outcome]) -> dict[str, int]:
    statuses = [outcome.status for outcome in outcomes]
    return {status: statuses.count(status) for status in set(statuses)}


def test_files_are_those_of_the_local_engine(
    cluster: Any, archive: Path, by_local: Path, model: Path, tmp_path: Path
) -> None:
    jobs = plan([archive], tmp_path)
    outcomes = on_ray(jobs, settings(model))
    assert sorted(outcome.job.shown for outcome in outcomes) == sorted(job.shown for job in jobs)
    assert counted(outcomes) == {"done": len(jobs) - 3, "failed": 3}
    assert without_times(tmp_path) == without_times(by_local)
    assert {f for f in contents(tmp_path) if f.endswith(".failed.json")} == {
        ".empty.failed.json",
        ".text.failed.json",
        "noise/.cut.failed.json",
    }


def test_engines_continue_what_another_began(
    cluster: Any, archive: Path, by_local: Path, model: Path, tmp_path: Path
) -> None:
    jobs = plan([archive], tmp_path)
    sound = [job for job in jobs if job.scan.name not in ("cut.nii.gz", "text.nii", "empty.nii.gz")]
    assert counted([*run_batch(sound[::3], settings(model))]) == {"done": len(sound[::3])}
    before = contents(tmp_path)
    outcomes = on_ray(jobs, settings(model))
    assert counted(outcomes)["skipped"] == len(sound[::3])
    assert before.items() <= contents(tmp_path).items()
    assert without_times(tmp_path) == without_times(by_local)
    assert counted([*run_batch(sound, settings(model))]) == {"skipped": len(sound)}


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_removed_machine_and_a_killed_worker_lose_nothing(
    number: int, cluster: Any, archive: Path, by_local: Path, model: Path, tmp_path: Path
) -> None:
    from support.services.ray_clusters import add_node

    chance = random.Random(SEED + number)
    jobs = plan([archive], tmp_path)
    kill_at, remove_at = (chance.randrange(1, len(jobs) - 4) for _ in "ab")
    doomed = add_node(cluster)

    def disturb(engine: Any, count: int) -> None:
        if count == kill_at and engine.crew.started:
            os.kill(chance.choice(engine.crew.started).process, signal.SIGKILL)
        if count == remove_at:
            cluster.remove_node(doomed, allow_graceful=False)

    outcomes = on_ray(jobs, settings(model), disturb)
    assert sorted(outcome.job.shown for outcome in outcomes) == sorted(job.shown for job in jobs)
    assert counted(outcomes)["failed"] == 3
    assert without_times(tmp_path) == without_times(by_local)
    made = sum(outcome.status == "done" for outcome in outcomes)
    assert made <= len(jobs) - 3  # one that lost only its answer is found done


def test_a_scan_that_ends_its_worker_twice_is_quarantined(
    cluster: Any, tiny_model_path: Path, tmp_path: Path
) -> None:
    for seed in range(5):
        write_scan(tmp_path / f"in/{seed}.nii.gz", seed)
    jobs = list(plan([tmp_path / "in"], tmp_path / "out"))
    jobs[2] = replace(jobs[2], scan=DeadlyPath(jobs[2].scan))
    outcomes = on_ray(jobs, settings(tiny_model_path), blame_s=1)
    assert counted(outcomes) == {"done": 4, "failed": 1}
    (failed,) = [outcome for outcome in outcomes if outcome.status == "failed"]
    assert failed.job == jobs[2]
    assert isinstance(failed.error, QuarantineError)
    assert "2.nii.gz: ended its worker twice" in str(failed.error)
    failure = read_failure(jobs[2])
    assert failure is not None
    assert (failure.state, failure.deaths) == ("quarantined", 2)
    names = {path.name for path in (tmp_path / "out").iterdir() if "failed" in path.name}
    assert names == {".2.failed.json"}
    again = [*run_batch(plan([tmp_path / "in"], tmp_path / "out"), settings(tiny_model_path))]
    assert [outcome.status for outcome in again].count("skipped") == 4
    assert "remove " in str(again[2].error)
    forced = settings(tiny_model_path, force=True)
    assert counted([*run_batch(plan([tmp_path / "in"], tmp_path / "out"), forced)]) == {"done": 5}
    assert not [path for path in (tmp_path / "out").iterdir() if "failed" in path.name]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_memory_of_driver_and_workers_does_not_grow(
    cluster: Any, tiny_model_path: Path, tmp_path: Path
) -> None:
    write_scan(tmp_path / "in/0.nii.gz", 0)
    for number in range(1, TINY):
        (tmp_path / f"in/{number}.nii.gz").symlink_to(tmp_path / "in/0.nii.gz")
    jobs = [
        Job(tmp_path / f"in/{number}.nii.gz", tmp_path / f"out/{number}.nii.gz")
        for number in range(TINY)
    ]
    seen: list[tuple[float, float]] = []

    def disturb(engine: Any, count: int) -> None:
        if count in (TINY // 2, TINY - 4):
            most = max(resident_mb(hand.process) for hand in engine.crew.started)
            seen.append((resident_mb(os.getpid()), most))

    outcomes = on_ray(jobs, settings(tiny_model_path), disturb)
    assert counted(outcomes) == {"done": TINY}
    (driver, worker), (driver_later, worker_later) = seen
    assert driver_later - driver < 20 + 0.02 * TINY  # the outcomes, which this test keeps
    assert worker_later - worker < 20


def test_a_silent_worker_is_lost(cluster: Any, tiny_model_path: Path, tmp_path: Path) -> None:
    for seed in range(6):
        write_scan(tmp_path / f"in/{seed}.nii.gz", seed)
    jobs = plan([tmp_path / "in"], tmp_path / "out")

    def disturb(engine: Any, count: int) -> None:
        if count == 1:
            os.kill(engine.crew.started[0].process, signal.SIGSTOP)

    outcomes = on_ray(
        jobs, settings(tiny_model_path, lock_wait_s=60), disturb, silence_s=5, blame_s=1
    )
    assert set(counted(outcomes)) <= {"done", "skipped"}
    assert len(outcomes) == 6
    assert len(list((tmp_path / "out").glob("*_mask.nii.gz"))) == 6


def test_a_cancelled_run_leaves_nothing_half_written(
    cluster: Any, archive: Path, by_local: Path, model: Path, tmp_path: Path
) -> None:
    from lits_runtime.batch.ray_engine.engine import RayEngine

    jobs, outcomes = plan([archive], tmp_path), list[Outcome]()
    engine = RayEngine.open(settings(model))
    batch = run_batch(jobs, settings(model), engine=engine, cancel=lambda: len(outcomes) >= 4)
    for outcome in batch:
        outcomes.append(outcome)
    assert len(outcomes) < len(jobs)
    assert litter(tmp_path) == []
    again = on_ray(jobs, settings(model))
    assert counted(again)["skipped"] >= 1
    assert without_times(tmp_path) == without_times(by_local)


def test_a_run_without_workers_ends_with_the_reason(
    cluster: Any, tiny_model_path: Path, tmp_path: Path
) -> None:
    jobs = [Job(write_scan(tmp_path / "a.nii.gz"), tmp_path / "mask.nii.gz")]
    began = time.monotonic()
    with pytest.raises(EngineError, match="no worker started within 2 s"):
        on_ray(jobs, replace(settings(tiny_model_path), threads=64), patience_s=2)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("what", ["nothing", "no Ray"])
def test_no_cluster_is_one_line(what: str, tiny_model_path: Path, tmp_path: Path) -> None:
    """Ray itself would try a port that something else holds for a quarter of an hour."""
    short = ("RAY_py_gcs_connect_timeout_s", "RAY_gcs_rpc_server_connect_timeout_s")
    scan = write_scan(tmp_path / "a.nii.gz")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = "127.0.0.1:9" if what == "nothing" else f"127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-m", "lits_runtime", scan, "-o", tmp_path / "out"]
        ours = ["-m", tiny_model_path, "--engine", "ray", "--ray-address", address]
        done = subprocess.run(
            [*map(str, (*command, *ours))],
            capture_output=True,
            text=True,
            env=os.environ | dict.fromkeys(short, "1") | {"PYTHONPATH": os.pathsep.join(sys.path)},
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: no Ray cluster answers at {address}")
