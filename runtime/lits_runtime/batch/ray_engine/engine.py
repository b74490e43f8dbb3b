"""Jobs to the workers of a Ray cluster, outcomes back; a lost job is done again elsewhere."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lits_runtime import errors
from lits_runtime.batch.failures import DEADLY, record_death, record_failure
from lits_runtime.batch.job import Job
from lits_runtime.batch.job_files import OutputPlan
from lits_runtime.batch.ray_engine import cluster
from lits_runtime.batch.settings import Outcome, Settings
from lits_runtime.errors import EngineError, LitsError, QuarantineError, VolumeError
from lits_runtime.files.atomic import remove_abandoned
from lits_runtime.model.bundled import bundled_model
from lits_runtime.model.checked_file import check, read_content
from lits_runtime.model.metadata import ModelMetadata

import ray  # isort: skip  # after cluster, which tells it to send nothing home

from lits_runtime.batch.ray_engine.crew import Crew, Lost  # isort: skip
from lits_runtime.batch.ray_engine.worker import worker_class  # isort: skip

_WAIT_S = 1.0
_LOOK_S = 5.0
_STOP_S = 10.0
_STARTS = 3
"""So many workers in a row that do not open the model end the run."""


@dataclass(frozen=True)
class RayOptions:
    """Which cluster, and how much of it."""

    address: str | None = None
    """As in `ray.init`; None: one of this machine's own, for this run."""
    workers: int | None = None
    """None: as many as there is room for, also in machines that join later."""
    silence_s: float = 300.0
    """After which a worker that does not answer is lost."""
    blame_s: float = 30.0
    """How long to wait, once a worker is lost, whether its machine is, before its scans are
    blamed."""
    patience_s: float = 600.0
    """How long to wait while there is no worker at all."""


class RayEngine:
    """Runs jobs on a cluster. Only records come back; outcomes are in the order of completion.

    Args:
        settings: of all jobs.
        options: of the cluster.
        content: of the model.
        metadata: of the model.
    """

    def __init__(
        self, settings: Settings, options: RayOptions, content: bytes, metadata: ModelMetadata
    ) -> None:
        self._settings, self._options, self._content = settings, options, content
        self.metadata = metadata
        self.origins: tuple[Path, ...] = () if settings.model is None else (settings.model,)
        self.crew: Crew | None = None
        """The workers, during a run."""
        self._connected = False

    @classmethod
    def open(cls, settings: Settings, options: RayOptions | None = None) -> "RayEngine":
        """Check the model here, and connect to the cluster.

        Raises:
            ModelError: see `model.checked_file.check`.
            EngineError: no cluster answers.
        """
        options = options or RayOptions()
        content = read_content(settings.model or bundled_model())
        engine = cls(settings, options, content, check(content, settings.model_sha256).metadata)
        engine._connected = cluster.connect(options.address)
        return engine

    def close(self) -> None:
        """Leave the cluster; one that was started for this run ends."""
        if self._connected:
            self._connected = False
            ray.shutdown()

    def run(
        self,
        jobs: Sequence[Job],
        plan: OutputPlan,
        progress: Callable[[Job, int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Iterator[Outcome]:
        """One outcome for each job, as they are done, until the end or the cancellation."""
        share = cluster.share_of(self._settings)
        model = ray.put(self._content)
        settings = self._settings
        start = partial(worker_class(share.cpus, share.gpus).remote, settings, model)
        self.crew = Crew(start, self._options.silence_s, self._options.blame_s)
        dispatch = _Dispatch(jobs, plan, self.crew)
        try:
            yield from dispatch.run(partial(self._wanted, share), self._options.patience_s, cancel)
        finally:
            self.crew.close()
            if dispatch.lost:
                for folder in plan.folders:
                    remove_abandoned(folder)
            self.close()

    def _wanted(self, share: cluster.Share) -> int:
        return self._options.workers or cluster.capacity(share)


class _Dispatch:
    """What is left to do, and what may end a worker."""

    def __init__(self, jobs: Sequence[Job], plan: OutputPlan, crew: Crew) -> None:
        self._left, self._plan, self.crew = deque(jobs), plan, crew
        self._suspects: deque[Job] = deque()
        """Jobs that a worker had when it ended: each is done again, alone in its worker."""
        self._deaths: Counter[Job] = Counter()
        self.lost = 0
        """Workers that ended, perhaps with files half written."""
        self._looked_s = self._had_worker_s = time.monotonic()

    def run(
        self, wanted: Callable[[], int], patience_s: float, cancel: Callable[[], bool] | None
    ) -> Iterator[Outcome]:
        """Outcomes until nothing is left."""
        self._grow(wanted)
        while self._left or self._suspects or self.crew.in_hand:
            yield from self._hand_out()
            for heard in self.crew.hear(_WAIT_S):
                if isinstance(heard, Lost):
                    yield from self._take_back(heard)
                else:
                    yield _outcome(*heard)
            if cancel is not None and cancel():
                yield from self._cancelled()
                return
            if time.monotonic() - self._looked_s > _LOOK_S:
                self._grow(wanted)
            self._check_workers(patience_s)

    def _grow(self, wanted: Callable[[], int]) -> None:
        self._looked_s = time.monotonic()
        to_do = len(self._left) + len(self._suspects) + self.crew.in_hand
        self.crew.grow(min(wanted(), to_do))

    def _hand_out(self) -> Iterator[Outcome]:
        """Give each worker what it can take: so many jobs are under way, and no more."""
        for hand in self.crew.started:
            if self._suspects and hand.takes(alone=True):
                hand.give(self._suspects.popleft(), alone=True)
            while self._left and hand.takes(alone=False):
                job = self._left.popleft()
                if (error := self._refused(job)) is not None:
                    record_failure(job, error)
                    yield Outcome(job, "failed", error=error)
                else:
                    hand.give(job, alone=False)

    def _refused(self, job: Job) -> LitsError | None:
        if job.problem is not None:
            return VolumeError(f"{job.name}: {job.problem}")
        return self._plan.refused.get(job)

    def _take_back(self, lost: Lost) -> Iterator[Outcome]:
        self.lost += 1
        if lost.with_machine:
            self._left.extendleft(reversed(lost.jobs))
            return
        for job in lost.jobs:
            failure = record_death(job, lost.why)
            self._deaths[job] += 1
            if max(failure.deaths, self._deaths[job]) >= DEADLY:
                text = f"{job.name}: ended its worker twice ({lost.why}) and is quarantined"
                yield Outcome(job, "failed", error=QuarantineError(text))
            else:
                self._suspects.append(job)

    def _check_workers(self, patience_s: float) -> None:
        """Make sure that there is somebody to wait for.

        Raises:
            LitsError: the model opens nowhere.
            EngineError: no worker starts.
        """
        if self.crew.started:
            self._had_worker_s = time.monotonic()
            self.crew.problems.clear()
        elif len(self.crew.problems) >= _STARTS:
            kind, text = self.crew.problems[-1]
            raise _error(kind, f"no worker opened the model: {text}")
        elif time.monotonic() - self._had_worker_s > patience_s:
            raise EngineError(
                f"no worker started within {patience_s:.0f} s: the cluster has no machine with "
                "room for one; start machines, or give fewer --threads"
            )

    def _cancelled(self) -> Iterator[Outcome]:
        self.crew.stop()
        end = time.monotonic() + _STOP_S
        while self.crew.in_hand and time.monotonic() < end:
            for heard in self.crew.hear(_WAIT_S):
                if not isinstance(heard, Lost):
                    yield _outcome(*heard)


def _outcome(job: Job, result: dict[str, Any]) -> Outcome:
    error = None if result["error"] is None else _error(*result["error"])
    return Outcome(job, result["status"], result["record"], error, result["seconds"])


def _error(kind: str, text: str) -> LitsError:
    """An error that came as plain values; of another's class only its text is kept."""
    found = getattr(errors, kind, LitsError)
    return found(text) if issubclass(found, LitsError) else LitsError(text)
