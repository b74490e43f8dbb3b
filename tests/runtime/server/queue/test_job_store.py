"""The table of jobs: order, attempts, and what a stale attempt may not do."""

import sqlite3
from pathlib import Path

import pytest

from lits_runtime.errors import OptionsError, OutputBusyError, OutputError
from lits_runtime.server.database import FORMAT
from lits_runtime.server.queue.job import State
from lits_runtime.server.queue.state_folder import StateFolder
from lits_runtime.server.queue.store import JobStore

A, B = "a" * 32, "b" * 32


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    store = JobStore(tmp_path / "queue.sqlite")
    for job_id in (A, B):
        store.add(job_id, ".nii", 1000, {"tta": True}, "127.0.0.1")
    return store


def test_jobs_are_claimed_in_order_of_acceptance(store: JobStore) -> None:
    first, second = store.get(A), store.get(B)
    assert first is not None and second is not None
    assert [store.position(first), store.position(second)] == [1, 2]
    claimed = store.claim()
    assert claimed is not None and claimed.id == A
    assert (claimed.state, claimed.attempts, claimed.options) == (State.RUNNING, 1, {"tta": True})
    assert [store.position(claimed), store.position(second)] == [0, 1]
    assert store.claim() is not None
    assert store.claim() is None


def test_a_job_that_is_given_back_keeps_its_place(store: JobStore) -> None:
    first = store.claim()
    assert first is not None and store.give_back(first, counted=True)
    again = store.claim()
    assert again is not None and (again.id, again.attempts) == (A, 2)
    assert store.give_back(again, counted=False)
    third = store.claim()
    assert third is not None and (third.id, third.attempts) == (A, 2)


def test_a_stale_attempt_ends_nothing(store: JobStore) -> None:
    first = store.claim()
    assert first is not None and store.give_back(first, counted=True)
    assert not store.complete(first, {"of": "an attempt that was given up"})
    second = store.claim()
    assert second is not None
    assert not store.fail(first, "late")
    assert store.complete(second, {"of": "the second"})
    assert not store.complete(second, {"of": "the second, again"})
    job = store.get(A)
    assert job is not None and job.report == {"of": "the second"}


def test_a_cancelled_job_stays_cancelled(store: JobStore) -> None:
    running = store.claim()
    assert running is not None and store.cancel(A)
    assert not store.cancel(A)
    assert not store.complete(running, {}) and not store.give_back(running, counted=False)
    assert store.counts()[State.CANCELLED] == 1
    assert store.remove(A) and not store.remove(A)
    assert not store.remove(B), "it has still to be done"


def test_all_is_there_after_a_restart(store: JobStore, tmp_path: Path) -> None:
    assert store.claim() is not None
    store.close()
    again = JobStore(tmp_path / "queue.sqlite")
    assert [job.id for job in again.interrupted()] == [A]
    assert [job.id for job in again.latest(10)] == [B, A]


def test_an_error_changes_nothing(store: JobStore) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        store.add(A, ".nii", 1, {}, "")
    assert store.ids() == {A, B}
    assert store.claim() is not None, "the transaction was rolled back"


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite"
    rows = sqlite3.connect(path)
    rows.execute(f"pragma user_version = {FORMAT + 1}")
    rows.close()
    with pytest.raises(OptionsError, match="newer lits-toolkit"):
        JobStore(path)


def test_a_state_folder_is_one_servers(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state")
    assert folder.path.stat().st_mode & 0o077 == 0
    with pytest.raises(OutputBusyError, match="another lits-serve"):
        StateFolder(tmp_path / "state")
    folder.close()
    StateFolder(tmp_path / "state").close()


@pytest.mark.parametrize("name", ["incoming/precious.txt", "jobs/last-year/precious.txt"])
def test_a_foreign_folder_is_left_alone(name: str, tmp_path: Path) -> None:
    """What belongs to no job is removed at each start, but not from a folder of something else."""
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match="not the folder of a lits-serve"):
        StateFolder(tmp_path)
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*.*")] == [Path(name)]
    JobStore(tmp_path / "queue.sqlite")
    folder = StateFolder(tmp_path)
    folder.remove_all_but(())
    folder.close()
    assert not (tmp_path / name).exists()
