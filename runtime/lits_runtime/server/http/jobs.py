"""The routes of jobs: send a scan, follow it, remove it."""

import asyncio
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from lits_runtime.errors import LitsError
from lits_runtime.messages import brief
from lits_runtime.segment.options import Options
from lits_runtime.server.http.found_jobs import NO_JOB, FoundJobs, JobId, no_job
from lits_runtime.server.http.results import links_of
from lits_runtime.server.http.shapes import JobList, JobShown, ScanOptions, refusals
from lits_runtime.server.http.upload import (
    Upload,
    boundary_of,
    declared_bytes,
    ending_of,
    no_room,
    parsed_options,
    too_large,
)
from lits_runtime.server.queue.dispatcher import Dispatcher
from lits_runtime.server.queue.job import Job, State

RETRY_AFTER_S = 30
_POLL_S = 0.25
_HEARTBEAT_S = 15.0
_SPARE_BYTES = 2**28
"""That an upload must leave on the disk."""
_LISTED = 200

_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["scan"],
                "additionalProperties": False,
                "properties": {
                    "scan": {
                        "type": "string",
                        "format": "binary",
                        "minLength": 1,
                        "description": "NIfTI (.nii, .nii.gz), or a ZIP of a DICOM series.",
                    },
                    "options": ScanOptions.model_json_schema(),
                },
            },
            "encoding": {"options": {"contentType": "application/json"}},
        }
    },
}


class JobRoutes:
    """The routes of one dispatcher.

    Args:
        dispatcher: of the jobs.
        is_ending: whether the server is about to end, so that streams must.
    """

    def __init__(self, dispatcher: Dispatcher, is_ending: Callable[[], bool]) -> None:
        self._dispatcher, self._is_ending = dispatcher, is_ending
        self._jobs = FoundJobs(dispatcher)
        self.router = APIRouter(prefix="/api", tags=["jobs"])
        add = self.router.add_api_route
        add(
            *("/jobs", self.submit),
            methods=["POST"],
            status_code=202,
            response_model=JobShown,
            openapi_extra={"requestBody": _BODY},
            responses=refusals(
                _400="The body is malformed, or ends early.",
                _408="The upload came too slowly.",
                _413="The scan or its options are too large.",
                _415="No multipart/form-data.",
                _422="A field is missing, or an option is unknown or out of range.",
                _503="The queue is full; see Retry-After.",
                _507="The disk is full.",
            ),
        )
        wrong = refusals(_422="The limit is out of range.")
        add("/jobs", self.list, methods=["GET"], response_model=JobList, responses=wrong)
        add("/jobs/{id}", self.show, methods=["GET"], response_model=JobShown, responses=NO_JOB)
        add("/jobs/{id}", self.remove, methods=["DELETE"], status_code=204, responses=NO_JOB)
        stream = {"description": "An event `job` at each change.", "content": {_EVENTS: {}}}
        add(
            *("/jobs/{id}/events", self.events),
            methods=["GET"],
            response_class=StreamingResponse,
            responses=NO_JOB | {200: stream},
        )

    async def submit(self, request: Request, response: Response) -> JobShown:
        """Send a scan. It is on disk and in the queue when the answer comes."""
        job = await self._submitted(request)
        response.headers["Location"] = f"/api/jobs/{job.id}"
        return self.shown(job)

    async def _submitted(self, request: Request) -> Job:
        boundary, declared = boundary_of(request), declared_bytes(request)
        limit = self._dispatcher.settings.max_upload_bytes
        if declared > limit + 2**20:
            raise too_large(limit)
        if self._dispatcher.folder.free_bytes() < declared + _SPARE_BYTES:
            raise no_room()
        if not self._dispatcher.reserve():
            retry = {"Retry-After": str(RETRY_AFTER_S)}
            raise HTTPException(503, "the queue is full: try again later", retry)
        try:
            return await self._received(request, boundary, limit)
        finally:
            self._dispatcher.release()

    async def _received(self, request: Request, boundary: bytes, limit: int) -> Job:
        job_id = secrets.token_hex(16)
        path = self._dispatcher.folder.incoming(job_id)
        try:
            with path.open("xb") as file:
                upload = Upload(file, boundary, limit)
                await upload.receive(request)
            options = await run_in_threadpool(self._options, bytes(upload.options))
            ending, client = ending_of(upload.start), request.client.host if request.client else ""
            return await run_in_threadpool(
                self._dispatcher.accept, job_id, ending, upload.size, options, client
            )
        except OSError as error:
            raise no_room(error) from None
        except sqlite3.Error:
            raise no_room() from None
        finally:
            path.unlink(missing_ok=True)

    def _options(self, text: bytes) -> dict[str, Any]:
        try:
            given = ScanOptions.model_validate(parsed_options(text)).model_dump(exclude_none=True)
            own = {name: value for name, value in given.items() if name != "mask_kind"}
            Options(**own).applied(self._dispatcher.model.metadata)
        except ValidationError as error:
            raise HTTPException(422, _told(error)) from None
        except LitsError as error:
            raise HTTPException(422, f"options: {brief(error)}") from None
        return given

    def list(
        self, limit: Annotated[int, Query(ge=1, le=_LISTED, description="At most so many.")] = 50
    ) -> JobList:
        """The jobs that were accepted last, newest first."""
        jobs = [self.shown(job) for job in self._dispatcher.store.latest(limit)]
        return JobList(jobs=jobs, accepting=self._dispatcher.has_room)

    def show(self, job_id: JobId) -> JobShown:
        """A job: its state, place in the queue, progress, report."""
        return self.shown(self._jobs.get(job_id))

    def remove(self, job_id: JobId) -> Response:
        """Cancel a job that is not done, or forget one that is; its files are removed."""
        if not self._dispatcher.remove(job_id):
            raise no_job()
        return Response(status_code=204)

    async def events(self, job_id: JobId) -> StreamingResponse:
        """Server-sent events: the job at once and at each change, until it has ended."""
        await run_in_threadpool(self._jobs.get, job_id)
        return StreamingResponse(self._changes(job_id), media_type=_EVENTS)

    async def _changes(self, job_id: str) -> AsyncIterator[str]:
        last, quiet_s = "", 0.0
        while not self._is_ending():
            job = await run_in_threadpool(self._dispatcher.store.get, job_id)
            if job is None:
                return
            text = self.shown(job).model_dump_json()
            if text != last:
                yield f"event: job\ndata: {text}\n\n"
                last, quiet_s = text, 0.0
            elif quiet_s >= _HEARTBEAT_S:
                yield ": still here\n\n"
                quiet_s = 0.0
            if not job.is_open:
                return
            await asyncio.sleep(_POLL_S)
            quiet_s += _POLL_S

    def shown(self, job: Job) -> JobShown:
        """A job as its sender sees it."""
        own = f"/api/jobs/{job.id}"
        links = {"self": own, "events": f"{own}/events"}
        if job.state == State.DONE:
            links |= links_of(self._dispatcher, job)
        return JobShown(
            id=job.id,
            state=job.state.value,
            position=self._dispatcher.store.position(job),
            progress=self._dispatcher.progress(job),
            created=job.created,
            started=job.started,
            finished=job.finished,
            attempts=job.attempts,
            bytes=job.bytes,
            options=job.options,
            report=job.report,
            warnings=list((job.report or {}).get("warnings", ())),
            error=job.error,
            links=links,
        )


_EVENTS = "text/event-stream"


def _told(error: ValidationError) -> str:
    """The first fault of options, in one line."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return brief(f"options{'.' * bool(place)}{place}: {first['msg']}")
