"""Two processes on one output, and processes that are stopped or killed at any moment."""

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lits_runtime.records.record_file import explains, read_record
from support.batches import litter
from support.files.scans import write_scan
from support.forks import Forks, end, everything

pytestmark = pytest.mark.slow

ROUNDS = int(os.environ.get("LITS_RACE_ROUNDS", "2"))
"""How many rounds of two processes are tried; the full run takes 200."""
MOMENTS = int(os.environ.get("LITS_RACE_MOMENTS", "9"))
"""Which of the moments of a run are tried, every so many-th; the full run takes each: 1."""


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.close()


def names_of(out: Path) -> list[str]:
    return sorted(path.name for path in out.glob("[!.]*.nii.gz"))


class Case:
    """Scans, and what an undisturbed run makes of them."""

    def __init__(self, forks: Forks, model: Path, folder: Path, scans: int, slices: int) -> None:
        self.forks, self.model, self.folder, self.out = forks, model, folder, folder / "out"
        self.scans = [
            write_scan(folder / f"{seed}.nii.gz", seed, (40, 40, slices)) for seed in range(scans)
        ]
        self.older = self.made("older", "--mask", "liver")
        self.expected = self.made("undisturbed")

    def arguments(self, *more: object, out: Path | None = None) -> list[object]:
        out = out or self.out
        where = ["-m", self.model, "-o", out, "--probability", out, "--provider", "cpu"]
        return [*self.scans, *where, "--threads", 1, *more]

    def made(self, name: str, *more: object) -> dict[str, bytes]:
        out = self.folder / name
        assert self.forks.wait(self.forks.start(self.arguments(*more, out=out))) == 0
        return {path: content for path, content in everything(out).items() if "nii" in path}

    def assert_explained(self) -> None:
        """Whatever is at the outputs is one of the two results, and a record explains it."""
        for name in names_of(self.out):
            path = self.out / name
            assert path.read_bytes() in (self.expected[name], self.older[name])
            beside = self.out / f"{name.partition('_')[0]}_mask.nii.gz"
            record = read_record(beside.with_name(beside.name.replace(".nii.gz", ".json")))
            assert explains(record, beside, path), (name, record)

    def assert_completed_by_a_rerun(self) -> None:
        self.assert_explained()
        assert self.forks.wait(self.forks.start(self.arguments())) == 0
        files = everything(self.out)
        assert {name: files[name] for name in files if "nii" in name} == self.expected
        records = [f"{seed}_mask.json" for seed in range(len(self.scans))]
        assert sorted(files) == sorted([*self.expected, *records])
        assert {json.loads(files[name])["state"] for name in records} == {"done"}


@pytest.fixture
def case(forks: Forks, tiny_model_path: Path, tmp_path: Path) -> Case:
    return Case(forks, tiny_model_path, tmp_path, scans=1, slices=6)


@pytest.mark.parametrize("older", [False, True])
def test_killed_at_each_moment_a_rerun_completes(older: bool, case: Case) -> None:
    moments = 0
    for moment in range(0, 1000, MOMENTS):
        if older:
            case.out = case.folder / f"again-{moment}"
            assert case.forks.wait(case.forks.start(case.arguments("--mask", "liver"))) == 0
        else:
            case.out = case.folder / f"anew-{moment}"
        run = case.forks.start(case.arguments(), at=moment, by=signal.SIGKILL)
        status = case.forks.wait(run)
        case.assert_completed_by_a_rerun()
        if status == 0:  # it had ended before
            break
        assert status == -signal.SIGKILL
        moments += 1
    assert moments > 30 / MOMENTS


@pytest.mark.parametrize("then", [signal.SIGCONT, signal.SIGKILL, signal.SIGTERM])
def test_stopped_at_each_moment_another_process_does_no_harm(
    then: signal.Signals, case: Case
) -> None:
    """The first stops itself; the second works, or waits; then the first goes on or ends."""
    for moment in range(0, 1000, 2 * MOMENTS):
        case.out = case.folder / f"{moment}"
        first = case.forks.start(case.arguments(), at=moment, by=signal.SIGSTOP)
        if case.forks.wait_until_stopped(first) is not None:
            break
        second = case.forks.start(case.arguments())
        time.sleep(0.05)  # it is at the lock now, or done
        if then == signal.SIGKILL:
            end(first, signal.SIGKILL)
        else:
            end(first, then)
            end(first, signal.SIGCONT)
        statuses = case.forks.wait(first), case.forks.wait(second)
        assert statuses[0] in {signal.SIGCONT: (0,)}.get(then, (0, 143, -then)), statuses
        assert statuses[1] == 0
        case.assert_completed_by_a_rerun()
        assert litter(case.out) == []
    assert moment > 30


def test_two_processes_at_random(forks: Forks, tiny_model_path: Path, tmp_path: Path) -> None:
    case = Case(forks, tiny_model_path, tmp_path, scans=2, slices=30)
    began = time.monotonic()
    case.made("timed")
    whole_s = time.monotonic() - began
    rng = random.Random(ROUNDS)
    for number in range(ROUNDS):
        case.out = tmp_path / f"round-{number}"
        if rng.random() < 0.5:
            assert forks.wait(forks.start(case.arguments("--mask", "liver"))) == 0
        runs = []
        for _ in range(2):
            runs.append(forks.start(case.arguments()))
            time.sleep(rng.choice([0, 0, rng.uniform(0, whole_s)]))
        unlucky, spared = rng.sample(runs, 2)
        for _ in range(rng.randrange(3)):
            end(unlucky, signal.SIGSTOP)
            time.sleep(rng.uniform(0, whole_s / 4))
            end(unlucky, signal.SIGCONT)
            time.sleep(rng.uniform(0, whole_s / 4))
        last = rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGCONT])
        end(unlucky, last)
        statuses = forks.wait(unlucky), forks.wait(spared)
        assert statuses[0] in (0, 143, 130, -signal.SIGKILL, -signal.SIGTERM), statuses
        assert statuses[1] == 0, (number, statuses)
        case.assert_completed_by_a_rerun()
        assert litter(case.out) == []
