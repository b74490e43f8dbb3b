"""A worker: an actor on some machine of the cluster that holds the model open."""

import os
from threading import Lock
from typing import Any

import ray

from lits_runtime.batch.job import Job
from lits_runtime.batch.local import LocalEngine
from lits_runtime.batch.settings import Outcome, Settings
from lits_runtime.messages import brief
from lits_runtime.session.engine import Engine
from lits_runtime.session.opening import checked_opening

AT_ONCE = 2
"""Jobs that a worker has: one is segmented while the scan of the next is opened."""


class Worker:
    """Runs jobs one after the other, and answers meanwhile.

    Args:
        settings: of all jobs.
        content: the model's bytes, so that no machine needs its file.
    """

    def __init__(self, settings: Settings, content: bytes) -> None:
        self._turn, self._stopped = Lock(), False
        self._engine: LocalEngine | None = None
        self._problem: tuple[str, str] | None = None
        try:
            opening = checked_opening(
                *(content, settings.provider, settings.threads, 0, settings.model_sha256)
            )
            self._engine = LocalEngine(settings, Engine.open(opening))
        except Exception as error:  # told by `where`, in one line
            self._problem = type(error).__name__, brief(error)

    @ray.method(concurrency_group="control")
    def where(self) -> tuple[str, int, tuple[str, str] | None]:
        """The node, the process, and why the model does not open there, if it does not."""
        return ray.get_runtime_context().get_node_id(), os.getpid(), self._problem

    @ray.method(concurrency_group="control")
    def stop(self) -> None:
        """Discard the scan in hand, and take no more."""
        self._stopped = True

    @ray.method(concurrency_group="jobs")
    def run(self, job: Job) -> dict[str, Any]:
        """What became of a job, as plain values: status, record, kind and text of the error."""
        if self._engine is None:
            raise RuntimeError("the model is not open")
        outcome: Outcome = self._engine.outcome(job, self._turn, lambda: self._stopped)
        error = outcome.error
        return {
            "status": outcome.status,
            "record": outcome.record,
            "error": None if error is None else (type(error).__name__, str(error)),
            "seconds": outcome.seconds,
        }


def worker_class(cpus: float, gpus: float) -> Any:
    """The actor class of workers with a share of a machine.

    Ray restarts and repeats nothing: what becomes of a lost job is decided by who sent it.
    """
    groups = {"jobs": AT_ONCE, "control": 1}
    remote: Any = ray.remote
    made = remote(concurrency_groups=groups, max_restarts=0, max_task_retries=0)(Worker)
    return made.options(num_cpus=cpus, num_gpus=gpus)
