"""The model file for the page that segments in the browser alone."""

from typing import Any

from fastapi import APIRouter, HTTPException, Response

from lits_runtime.model.bundled import bundled_model
from lits_runtime.model.checked_file import check, read_content
from lits_runtime.server.http.shapes import refusals
from lits_runtime.server.queue.dispatcher import Dispatcher

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The ONNX file.", "content": {"application/octet-stream": {}}},
    **refusals(_503="The model file is not what it was when the server started."),
}


def local_model_routes(dispatcher: Dispatcher) -> APIRouter:
    """The route of the model with which a dispatcher's workers segment."""
    router = APIRouter()

    @router.get("/local/model.onnx", tags=["server"], responses=_ANSWERS, response_class=Response)
    def model() -> Response:
        """The model of this server."""
        try:
            content = read_content(dispatcher.settings.model or bundled_model())
            check(content, dispatcher.model.sha256)
        except (OSError, ValueError) as error:
            raise HTTPException(
                503, "the model file has changed since the server started: restart it"
            ) from error
        return Response(content, media_type="application/octet-stream")

    return router
