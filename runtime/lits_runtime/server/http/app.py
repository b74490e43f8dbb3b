"""The application: routes, probes and pages of one dispatcher."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from lits_runtime.messages import brief
from lits_runtime.server.http.guard import Guard
from lits_runtime.server.http.jobs import JobRoutes
from lits_runtime.server.http.kserve import DEFINITIONS, InferRefusal, KServeRoutes
from lits_runtime.server.http.local_model import local_model_routes
from lits_runtime.server.http.metrics import Metrics
from lits_runtime.server.http.pacs import PacsRoutes
from lits_runtime.server.http.results import ResultRoutes
from lits_runtime.server.http.shapes import Health, Refusal, ServerShown, refusals
from lits_runtime.server.queue.dispatcher import Dispatcher
from lits_runtime.server.settings import Listening
from lits_runtime.system.extras import DISTRIBUTION
from lits_runtime.system.versions import version

if TYPE_CHECKING:
    from lits_runtime.server.dicom_node.node import Node

STATIC = Path(__file__).parents[1] / "static"
_VERSION = version(DISTRIBUTION) or "unknown"


def create_app(
    dispatcher: Dispatcher,
    listening: Listening,
    is_ending: Callable[[], bool],
    node: "Node | None" = None,
) -> FastAPI:
    """The application of a dispatcher that was started.

    Args:
        dispatcher: of the jobs.
        listening: to whom the server listens.
        is_ending: whether the server is about to end.
        node: the DICOM node, if there is one.
    """
    app = FastAPI(
        title="lits-serve",
        version=_VERSION,
        description="Segments liver and lesions in CT scans. Not a medical device.",
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
    )
    guarded: list[Any] = []
    denied: dict[int | str, dict[str, Any]] = {}
    if listening.token is not None:
        guarded = [Depends(HTTPBearer(auto_error=False, description="The token of the server."))]
        denied = refusals(_401="No token, or a wrong one.")
    for routes in (JobRoutes(dispatcher, is_ending), ResultRoutes(dispatcher)):
        app.include_router(routes.router, dependencies=guarded, responses=denied)
    local_model = local_model_routes(dispatcher)
    app.include_router(local_model, dependencies=guarded, responses=denied)
    app.include_router(
        KServeRoutes(dispatcher).router,
        dependencies=guarded,
        responses={
            status: {"description": shown["description"]} for status, shown in denied.items()
        },
    )
    app.include_router(PacsRoutes(dispatcher, node).router, dependencies=guarded, responses=denied)
    _add_facts(app, dispatcher, guarded, denied)
    _add_probes(app, dispatcher)
    app.openapi()["components"]["schemas"] |= DEFINITIONS
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(Exception, _broken)
    app.add_middleware(Guard, listening=listening)
    return app


def _add_facts(
    app: FastAPI,
    dispatcher: Dispatcher,
    guarded: list[Any],
    denied: dict[int | str, dict[str, Any]],
) -> None:
    metrics = Metrics(dispatcher)

    @app.get("/metrics", tags=["server"], dependencies=guarded, responses=denied | _PLAIN)
    def figures() -> Response:
        """Figures of the queue for Prometheus."""
        return Response(metrics.text(), media_type=Metrics.content_type)

    @app.get("/api/server", tags=["server"], dependencies=guarded, responses=denied)
    def server() -> ServerShown:
        """What runs here: model, devices and limits."""
        settings, model = dispatcher.settings, dispatcher.model
        ready = (device.provider for device in dispatcher.devices if device.is_ready)
        return ServerShown(
            version=_VERSION,
            model_sha256=model.sha256,
            recipe=model.metadata.recipe,
            precision=model.metadata.precision,
            intended_use=model.metadata.intended_use,
            classes=list(model.metadata.classes),
            providers=[provider for provider in ready if provider is not None],
            max_upload_bytes=settings.max_upload_bytes,
            max_jobs=settings.max_jobs,
            keep_s=settings.keep_s,
        )


def _add_probes(app: FastAPI, dispatcher: Dispatcher) -> None:
    not_ready: dict[int | str, dict[str, Any]] = {
        503: {"model": Health, "description": "No worker is ready, or the server is ending."}
    }

    @app.get("/healthz", tags=["probes"])
    def healthz() -> Health:
        """Whether the server answers."""
        return Health(status="ok")

    @app.get("/readyz", tags=["probes"], response_model=Health, responses=not_ready)
    def readyz() -> Any:
        """Whether a job that is sent now would be worked on."""
        if dispatcher.is_ready:
            return Health(status="ok")
        return JSONResponse(Health(status="not ready").model_dump(), 503)


_PLAIN: dict[int | str, dict[str, Any]] = {
    200: {"description": "Prometheus text.", "content": {"text/plain": {}}}
}


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status, detail, headers = error.status_code, str(error.detail), dict(error.headers or {})
    known = _methods(request) if status in (404, 405) else set()
    if known and request.method not in known:  # the folder of pages answers for any path
        status, detail = 405, f"expected {' or '.join(sorted(known))}"
        headers["Allow"] = ", ".join(sorted(known))
    if request.url.path.startswith("/v2"):
        return JSONResponse(InferRefusal(error=detail).model_dump(), status, headers)
    return _answer(status, detail, headers)


def _methods(request: Request) -> set[str]:
    """All methods that a path has; the router knows those of its first route only."""
    paths = request.app.openapi()["paths"]
    path = request.url.path.split("/")
    return {
        method.upper()
        for described, methods in paths.items()
        if len(parts := described.split("/")) == len(path)
        and all(part in (given, "{id}") for part, given in zip(parts, path, strict=True))
        for method in methods
    }


async def _malformed(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    return _answer(422, brief(f"{place}: {first['msg']}"))


async def _broken(request: Request, error: Exception) -> Response:
    return _answer(500, f"{type(error).__name__} (a bug in lits-toolkit: please report it)")


def _answer(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(Refusal(detail=detail).model_dump(), status, headers)
