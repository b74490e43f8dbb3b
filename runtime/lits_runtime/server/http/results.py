"""The routes of results: masks, DICOM objects, report, and files for the eye."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse, JSONResponse

from lits_runtime.messages import brief
from lits_runtime.server.http.found_jobs import NO_JOB, FoundJobs, JobId
from lits_runtime.server.http.shapes import refusals
from lits_runtime.server.queue.dispatcher import Dispatcher
from lits_runtime.server.queue.job import Job, State
from lits_runtime.server.queue.state_folder import RESULTS

_GZIP, _DICOM, _PNG = "application/gzip", "application/dicom", "image/png"
_KINDS = {".gz": _GZIP, ".dcm": _DICOM, ".png": _PNG}
_SHOWN = {"overlay": "overlay.png", "scan": "scan.nii.gz"}
_WAIT_S = 120.0


class ResultRoutes:
    """The routes of one dispatcher."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher, self._jobs = dispatcher, FoundJobs(dispatcher)
        self.router = APIRouter(prefix="/api/jobs/{id}", tags=["results"])
        missing = NO_JOB | refusals(_409="The job is not done, or has no such result.")
        busy = refusals(_503="No worker is ready.", _504="It took too long.")
        self.router.add_api_route(
            *("/report.json", self.report),
            methods=["GET"],
            response_model=dict[str, Any],
            responses=missing,
        )
        for route, told, more in (
            (self.mask, "The mask.", {}),
            (self.seg, "A DICOM SEG.", {}),
            (self.sr, "A DICOM SR.", {}),
            (self.overlay, "A picture.", busy),
            (self.scan, "The scan.", busy),
        ):
            self._add_file(route, told, missing | more)

    def _add_file(self, route: Callable[..., Any], told: str, responses: dict[Any, Any]) -> None:
        name = (RESULTS | _SHOWN)[route.__name__]
        kind = _KINDS[Path(name).suffix]
        self.router.add_api_route(
            *(f"/{name}", route),
            methods=["GET"],
            response_class=FileResponse,
            responses=responses | {200: {"description": told, "content": {kind: {}}}},
        )

    def report(self, job_id: JobId) -> JSONResponse:
        """Warnings, volumes and lesions."""
        return JSONResponse(self._done(job_id).report)

    def mask(self, job_id: JobId) -> FileResponse:
        """The mask on the scan's own grid."""
        return self._result(job_id, "mask")

    def seg(self, job_id: JobId) -> FileResponse:
        """The segments as DICOM SEG, if the scan is a DICOM series and something was found."""
        return self._result(job_id, "seg")

    def sr(self, job_id: JobId) -> FileResponse:
        """The measurements as DICOM SR, TID 1500, if the scan is a DICOM series."""
        return self._result(job_id, "sr")

    async def overlay(self, job_id: JobId) -> FileResponse:
        """The slice with most lesion as a picture, liver and lesions in colour."""
        return await self._shown(job_id, "overlay.png")

    async def scan(self, job_id: JobId) -> FileResponse:
        """The scan as NIfTI in HU, for viewers that do not read what was sent."""
        return await self._shown(job_id, "scan.nii.gz")

    def _done(self, job_id: str) -> Job:
        job = self._jobs.get(job_id)
        if job.state != State.DONE:
            raise HTTPException(409, f"the job is {job.state.value}: there are no results")
        return job

    def _result(self, job_id: str, name: str) -> FileResponse:
        job = self._done(job_id)
        path = self._dispatcher.folder.results(job).get(name)
        if path is None:
            why = "nothing was found to mark" if job.is_dicom else "the scan is not DICOM"
            raise HTTPException(409, f"there is no {RESULTS[name]} of this job: {why}")
        return _file(job, path)

    async def _shown(self, job_id: str, name: str) -> FileResponse:
        job = await asyncio.to_thread(self._done, job_id)
        path, made = self._dispatcher.shown(job, name)
        if path.exists():
            return _file(job, path)
        if made is None:
            raise HTTPException(503, "no worker is ready: try again later")
        try:
            await asyncio.wait_for(asyncio.wrap_future(made), _WAIT_S)
        except ValueError as error:
            raise HTTPException(409, brief(error)) from None
        except ConnectionError as error:
            raise HTTPException(503, f"{error}: try again later") from None
        except TimeoutError:
            raise HTTPException(504, f"{name} took more than {_WAIT_S:g} s") from None
        return _file(job, path)


def _file(job: Job, path: Path) -> FileResponse:
    kind = _KINDS[path.suffix]
    return FileResponse(path, media_type=kind, filename=f"{job.id[:8]}_{path.name}")


def links_of(dispatcher: Dispatcher, job: Job) -> dict[str, str]:
    """By name, what there is of a job that is done."""
    files = {name: RESULTS[name] for name in dispatcher.folder.results(job)}
    own = f"/api/jobs/{job.id}"
    return {
        name: f"{own}/{file}" for name, file in (files | {"report": "report.json"} | _SHOWN).items()
    }
