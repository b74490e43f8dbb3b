"""The routes of the DICOM node: series that come in, results that go out."""

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query

from lits_runtime.server.http.shapes import (
    ID,
    DeliveriesDue,
    DeliveryList,
    DeliveryShown,
    Refusal,
    SeriesList,
    SeriesShown,
)
from lits_runtime.server.queue.dispatcher import Dispatcher
from lits_runtime.server.queue.job import State

if TYPE_CHECKING:
    from lits_runtime.server.dicom_node.node import Node

_LISTED = 500
Responses = dict[int | str, dict[str, Any]]
Limit = Annotated[int, Query(ge=1, le=_LISTED, description="At most so many.")]
_NO_NODE = "there is no DICOM node: start the server with --dicom-port"


class PacsRoutes:
    """The routes of one node.

    Args:
        dispatcher: of the jobs.
        node: if there is one.
    """

    def __init__(self, dispatcher: Dispatcher, node: "Node | None") -> None:
        self._dispatcher, self._node = dispatcher, node
        self.router = APIRouter(prefix="/api", tags=["pacs"])
        add = self.router.add_api_route
        wrong: Responses = {422: {"model": Refusal, "description": "The limit is out of range."}}
        add("/series", self.series, methods=["GET"], response_model=SeriesList, responses=wrong)
        add("/outbox", self.outbox, methods=["GET"], response_model=DeliveryList, responses=wrong)
        none: Responses = {409: {"model": Refusal, "description": "There is no DICOM node."}}
        add(
            *("/outbox/retry", self.retry),
            methods=["POST"],
            status_code=202,
            response_model=DeliveriesDue,
            responses=none,
        )
        add(
            *("/jobs/{id}/send", self.send),
            methods=["POST"],
            status_code=202,
            response_model=DeliveriesDue,
            responses={
                404: {"model": Refusal, "description": "There is no such job."},
                409: {"model": Refusal, "description": "There is nothing to send, or no peer."},
                422: {"model": Refusal, "description": "The id is malformed."},
            },
        )

    def series(self, limit: Limit = 100) -> SeriesList:
        """The series that came in by DICOM, newest first; none without a node."""
        if self._node is None:
            return SeriesList(node=False, series=[])
        rows = self._node.series(limit)
        return SeriesList(
            node=True,
            series=[
                SeriesShown(
                    id=row.id,
                    state=row.state.value,
                    transfer=row.transfer.value,
                    source=row.source,
                    created=row.created,
                    settled=row.settled,
                    images=row.images,
                    reason=row.reason,
                )
                for row in rows
            ],
        )

    def outbox(self, limit: Limit = 100) -> DeliveryList:
        """The deliveries of results to peers; those first that are not made."""
        if self._node is None:
            return DeliveryList(deliveries=[])
        return DeliveryList(
            deliveries=[
                DeliveryShown(
                    job=row.job,
                    kind=row.kind,
                    peer=row.peer,
                    state=row.state.value,
                    attempts=row.attempts,
                    due=row.due if row.settled is None else None,
                    settled=row.settled,
                    error=row.error,
                )
                for row in self._node.deliveries(limit)
            ]
        )

    def retry(self) -> DeliveriesDue:
        """Try all deliveries that are not made once more, now."""
        if self._node is None:
            raise HTTPException(409, _NO_NODE)
        return DeliveriesDue(deliveries=self._node.retry())

    def send(
        self, job_id: Annotated[str, Path(alias="id", pattern=ID, description="Of a done job.")]
    ) -> DeliveriesDue:
        """Send the SEG and SR of a job to all peers, once more or for the first time."""
        job = self._dispatcher.store.get(job_id)
        if job is None:
            raise HTTPException(404, "no such job: it was removed, is past its time, or never was")
        if self._node is None:
            raise HTTPException(409, _NO_NODE)
        if not self._node.has_peers:
            raise HTTPException(409, "there is nobody to send to: start the server with --peer")
        if job.state != State.DONE:
            raise HTTPException(409, f"the job is {job.state.value}: there are no results")
        count = self._node.send_again(job)
        if not count:
            raise HTTPException(409, "the job has no DICOM results: its scan was no DICOM series")
        return DeliveriesDue(deliveries=count)
