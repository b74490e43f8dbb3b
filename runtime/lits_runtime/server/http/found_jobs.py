"""Jobs by the id in a path, or the refusal that there is none."""

from typing import Annotated

from fastapi import HTTPException, Path

from lits_runtime.server.http.shapes import ID, refusals
from lits_runtime.server.queue.dispatcher import Dispatcher
from lits_runtime.server.queue.job import Job

JobId = Annotated[str, Path(alias="id", pattern=ID, description="As the answer to POST says.")]
NO_JOB = refusals(_404="There is no such job.", _422="The id is malformed.")


class FoundJobs:
    """The jobs of a dispatcher."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._store = dispatcher.store

    def get(self, job_id: str) -> Job:
        """The job of this id.

        Raises:
            HTTPException: there is none.
        """
        job = self._store.get(job_id)
        if job is None:
            raise no_job()
        return job


def no_job() -> HTTPException:
    """What a request for an unknown job gets."""
    return HTTPException(404, "no such job: it was removed, is past its time, or never was")
