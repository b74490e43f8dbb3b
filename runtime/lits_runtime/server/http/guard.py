"""What every request passes: host, origin and token; and the headers of every answer."""

import hmac
import json
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lits_runtime.server.settings import Listening

_GUARDED = ("/api", "/v2", "/metrics", "/local/model.onnx")
"""Beginnings of paths that need the token; pages and probes do not, and tell nothing of jobs. A
model may be as confidential as a job."""
_POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob: data:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """Refuses what no user of this server sends, before anything else looks at it.

    A page of another site may make a browser send requests to a server on loopback: such requests
    carry that site's name as host or origin. Without a token, that is what tells them apart.
    """

    def __init__(self, app: ASGIApp, listening: Listening) -> None:
        self._app = app
        self._token = None if listening.token is None else listening.token.encode()
        self._hosts = set(allowed_hosts(listening))
        self._secure = listening.certificate is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                if self._secure:
                    headers["Strict-Transport-Security"] = "max-age=31536000"
                if "cache-control" not in headers:
                    kept = not scope["path"].startswith(_GUARDED)
                    headers["Cache-Control"] = "no-cache" if kept else "no-store"
            await send(message)

        refusal = self._refusal(scope["path"], Headers(scope=scope))
        if refusal is None:
            await self._app(scope, receive, send_with_headers)
        else:
            await _refuse(*refusal, send_with_headers)

    def _refusal(self, path: str, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if self._hosts and _name(host) not in self._hosts:
            return 421, "the server is not known by this name: start it with --allowed-host NAME"
        origin = headers.get("origin")
        if origin is not None and urlsplit_or_none(origin) != host.lower():
            return 403, "the request comes from a page of another site"
        if self._token is None or not path.startswith(_GUARDED):
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), self._token):
            return None
        return 401, "no token, or a wrong one: send the header Authorization: Bearer TOKEN"


def allowed_hosts(listening: Listening) -> Iterable[str]:
    """Names by which the server may be addressed; none: by any, as the token decides."""
    if listening.allowed_hosts or listening.loopback:
        yield from ("localhost", "127.0.0.1", "[::1]", listening.host.lower())
        yield from (name.lower() for name in listening.allowed_hosts)


def _name(host: str) -> str:
    """A host without its port.

    >>> _name("[::1]:8080"), _name("LOCALHOST:80")
    ('[::1]', 'localhost')
    """
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()


def urlsplit_or_none(origin: str) -> str | None:
    """Host and port of an origin; None for one that is malformed or "null"."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


async def _refuse(status: int, detail: str, send: Send) -> None:
    headers = [(b"content-type", b"application/json")]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    body = json.dumps({"detail": detail}).encode()
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
