"""A server from its start to its end: model, workers, socket, requests."""

import logging
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from lits_runtime.errors import OptionsError
from lits_runtime.model.bundled import bundled_model
from lits_runtime.model.checked_file import check, read_content
from lits_runtime.server.http.app import create_app
from lits_runtime.server.limited_head import LimitedHead
from lits_runtime.server.queue.dispatcher import Dispatcher
from lits_runtime.server.settings import Listening, NodeSettings, Settings

if TYPE_CHECKING:  # pynetdicom is imported if there is a node
    from lits_runtime.server.dicom_node.node import Node

logger = logging.getLogger(__name__)

_MAX_CONNECTIONS = 500
_CLOSING_S = 10
"""That requests under way have when the server ends."""
_IDLE_S = 30
"""That a connection lasts between requests, or while the rest of a refused one still comes: closed
earlier, the sender would miss the answer."""


def serve(settings: Settings, listening: Listening, node: NodeSettings | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish or hand back the jobs in hand.

    Args:
        settings: of the queue.
        listening: of HTTP.
        node: settings of the DICOM node, if there is to be one.

    Raises:
        LitsError: the model does not open, or another server uses the state folder.
        OptionsError: the address cannot be used.
        OSError: the state folder cannot be written.
    """
    model = check(read_content(settings.model or bundled_model()), settings.model_sha256)
    with _bound(listening) as listener:
        dispatcher = Dispatcher(settings, model)
        dicom_node = None if node is None else _node(node, dispatcher)
        dispatcher.start()
        with ExitStack() as running:
            running.callback(dispatcher.stop)
            if dicom_node is not None:
                dicom_node.start()
                running.callback(dicom_node.stop)
            _run(dispatcher, dicom_node, listening, listener)


def _node(settings: NodeSettings, dispatcher: Dispatcher) -> "Node":
    from lits_runtime.server.dicom_node.node import Node

    return Node(settings, dispatcher)


def _run(
    dispatcher: Dispatcher,
    dicom_node: "Node | None",
    listening: Listening,
    listener: socket.socket,
) -> None:
    options: dict[str, Any] = {}
    if listening.certificate is not None:
        options = {"ssl_certfile": listening.certificate, "ssl_keyfile": listening.key}
    ending = _Ending()
    config = uvicorn.Config(
        create_app(dispatcher, listening, ending, dicom_node),
        access_log=False,
        date_header=True,
        http=LimitedHead,
        limit_concurrency=_MAX_CONNECTIONS,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_CLOSING_S,
        timeout_keep_alive=_IDLE_S,
        ws="none",
        **options,
    )
    ending.server = uvicorn.Server(config)
    scheme = "https" if listening.certificate is not None else "http"
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    providers = ", ".join(str(device.provider) for device in dispatcher.devices)
    logger.info("serving on %s://%s:%d (%s)", scheme, shown, port, providers)
    ending.server.run(sockets=[listener])


class _Ending:
    """Says whether the server that is set is about to end."""

    server: uvicorn.Server | None = None

    def __call__(self) -> bool:
        return self.server is not None and self.server.should_exit


def _bound(listening: Listening) -> socket.socket:
    address = (listening.host, listening.port)
    try:
        family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server(address, family=family, backlog=128)
    except OSError as error:
        raise OptionsError(
            f"cannot listen on {listening.host} port {listening.port}: {error.strerror}; choose "
            "another --host or --port"
        ) from None


def read_token(path: Path) -> str:
    """A token from the first line of a file.

    Raises:
        OptionsError: it is too short, or not of visible ASCII.
    """
    return check_token((path.read_text("utf-8", "replace").splitlines() or [""])[0].strip())


def check_token(token: str) -> str:
    """The token itself, if it is one that can be sent in a header and not be guessed.

    Raises:
        OptionsError: it is too short, or not of visible ASCII.
    """
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise OptionsError(
            f"the token is shorter than {_SHORTEST_TOKEN} characters, or not of visible ASCII: "
            "make one with python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    return token


_SHORTEST_TOKEN = 16
