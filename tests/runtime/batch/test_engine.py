"""The seam of engines: jobs and settings go anywhere, outcomes come back."""

import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from lits_runtime import OptionsError
from lits_runtime.batch import Outcome, Settings, run_batch, segment_scan
from lits_runtime.batch.engine import BatchEngine, JobProgress, open_engine
from lits_runtime.batch.job import Job
from lits_runtime.batch.job_files import OutputPlan
from support.batches import contents, settings
from support.files.scans import write_scan


class Elsewhere:
    """Sends each job away as bytes, as an engine on another machine does."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        opened = open_engine("local", settings)
        self.metadata, self.origins = opened.metadata, opened.origins

    def run(
        self,
        jobs: Sequence[Job],
        plan: OutputPlan,
        progress: JobProgress | None,
        cancel: Callable[[], bool] | None,
    ) -> Iterator[Outcome]:
        for job in jobs:
            if job in plan.refused:
                yield Outcome(job, "failed", error=plan.refused[job])
                continue
            sent = pickle.dumps((job, self._settings))
            yield Outcome(job, "done", segment_scan(*pickle.loads(sent)))


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    scans = [write_scan(tmp_path / f"{name}.nii.gz") for name in "ab"]
    masks = [scan.with_name(f"{name}_mask.nii.gz") for scan, name in zip(scans, "ab", strict=True)]
    return [*map(Job, scans, masks), Job(scans[0], scans[1])]


def test_another_engine_gives_the_outcomes_of_the_local_one(
    jobs: list[Job], tiny_model_path: Path
) -> None:
    elsewhere: BatchEngine = Elsewhere(settings(tiny_model_path))
    away = list(run_batch(jobs, settings(tiny_model_path), engine=elsewhere))
    assert [outcome.status for outcome in away] == ["done", "done", "failed"]
    written = contents(jobs[0].scan.parent)
    here = list(run_batch(jobs, settings(tiny_model_path)))
    assert [outcome.status for outcome in here] == ["skipped", "skipped", "failed"]
    assert [outcome.record for outcome in here] == [outcome.record for outcome in away]
    assert str(here[2].error) == str(away[2].error)
    assert contents(jobs[0].scan.parent) == written


def test_an_engine_that_does_not_exist_is_refused(jobs: list[Job], tiny_model_path: Path) -> None:
    with pytest.raises(OptionsError, match=r"engine 'abacus': expected one of local, ray"):
        next(run_batch(jobs, settings(tiny_model_path), engine="abacus"))
