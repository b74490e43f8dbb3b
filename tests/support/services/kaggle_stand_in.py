"""A local stand-in for Kaggle: the two calls of its API that kagglehub makes, and the storage.

kagglehub is told by its own variable to ask http://localhost, and by `http_proxy` to ask there
through the stand-in, so that no port need be free.
"""

import base64
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest


def packed(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


class Kaggle:
    """What it holds, how it behaves, and what it was asked."""

    def __init__(self) -> None:
        self.archives: dict[str, bytes] = {}
        """By handle."""
        self.breaks_after: int | None = None
        """Bytes of an archive after which the connection is cut."""
        self.status = 200
        self.asked: list[tuple[str, str]] = []
        """Last part of the address, and the range asked for."""
        self.users: set[str] = set()

    @contextmanager
    def serving(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator["Kaggle"]:
        kaggle = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                handle = f"{body['ownerSlug']}/{body['datasetSlug']}"
                kaggle.asked.append((self.path.rpartition("/")[2], ""))
                if secret := self.headers.get("Authorization", "").removeprefix("Basic "):
                    kaggle.users.add(base64.b64decode(secret).decode())
                if kaggle.status != 200:
                    self.answer(kaggle.status, b"{}", "application/json")
                elif self.path.endswith("GetDataset"):
                    version = {"currentVersionNumber": 5, "ownerRef": body["ownerSlug"]}
                    self.answer(200, json.dumps(version).encode(), "application/json")
                else:
                    self.send_response(302)
                    self.send_header("Location", f"http://storage.local/{handle}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def do_GET(self) -> None:
                content = kaggle.archives[urlsplit(self.path).path[1:]]
                wanted = self.headers.get("Range", "")
                kaggle.asked.append(("archive", wanted))
                start = int(wanted.removeprefix("bytes=").rstrip("-") or 0)
                self.send_response(206 if wanted else 200)
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                self.wfile.write(content[start : kaggle.breaks_after])
                self.close_connection = True

            def answer(self, status: int, content: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        use_proxy(monkeypatch, home, server.server_port)
        monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def use_proxy(monkeypatch: pytest.MonkeyPatch, home: Path, port: int) -> None:
    """Send all requests to a local port, under a home without credentials."""
    for name in ("no_proxy", "NO_PROXY", "KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
    monkeypatch.delenv("KAGGLEHUB_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(home))
