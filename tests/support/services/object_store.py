"""An S3 store on loopback for tests: moto behind a door that can cut, deny and count."""

import http.client
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "not-a-real-secret"
_VARIABLES = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
_DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


@dataclass
class Door:
    """What happens to requests on their way."""

    endpoint: str
    cuts: int = 0
    """So many bodies of objects are cut in the middle."""
    denies_put: bool = False
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of all, in order."""

    def fetched(self, ending: str) -> int:
        """How many objects with such a name were fetched."""
        return sum(
            m == "GET" and path.partition("?")[0].endswith(ending) for m, path in self.requests
        )


def _handler(door: Door, port: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            pass

        def pass_on(self) -> None:
            door.requests.append((self.command, self.path))
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size)
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = self._chunks()
            if self.command == "PUT" and door.denies_put:
                self._answer(403, {"Content-Type": "application/xml"}, _DENIED)
                return
            inside = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            headers = {k: v for k, v in self.headers.items() if k.lower() != "transfer-encoding"}
            inside.request(self.command, self.path, body, headers)
            answer = inside.getresponse()
            content = answer.read()
            inside.close()
            if door.cuts and self.command == "GET" and len(content) > 1000:
                door.cuts -= 1
                self._answer(answer.status, dict(answer.getheaders()), content, cut=True)
                return
            self._answer(answer.status, dict(answer.getheaders()), content)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = pass_on

        def _chunks(self) -> bytes:
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _answer(
            self, status: int, headers: dict[str, str], content: bytes, cut: bool = False
        ) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            length = headers.get("Content-Length") if self.command == "HEAD" else len(content)
            self.send_header("Content-Length", str(length or 0))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if cut else content)
            if cut:
                self.close_connection = True

    return Handler


@contextmanager
def object_store(*buckets: str) -> Iterator[Door]:
    """A store with buckets, which the environment names as the S3 endpoint meanwhile."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    door = Door("")
    front = ThreadingHTTPServer(("127.0.0.1", 0), _handler(door, port))
    door.endpoint = f"http://127.0.0.1:{front.server_port}"
    threading.Thread(target=front.serve_forever, daemon=True).start()
    before = dict(os.environ)
    os.environ.update(_VARIABLES, AWS_ENDPOINT_URL=door.endpoint)
    for bucket in buckets:
        _inside(port, "PUT", f"/{bucket}")
    try:
        yield door
    finally:
        os.environ.clear()
        os.environ.update(before)
        front.shutdown()
        front.server_close()
        server.stop()


def _inside(port: int, method: str, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path)
    assert connection.getresponse().status == 200
    connection.close()
