"""Senders that are slow with the head of a request, or go on after they were refused."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from lits_runtime.server.limited_head import LimitedHead
from support.services.served import Server

TOKEN = "correct-horse-battery"


class Impatient(LimitedHead):
    patience_s = 0.3


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@contextmanager
def listening() -> Iterator[tuple[str, int]]:
    config = uvicorn.Config(hello, http=Impatient, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[:2]
        finally:
            server.should_exit = True
            thread.join()


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "])
def test_a_connection_without_a_request_is_closed(start: bytes) -> None:
    with listening() as address, socket.create_connection(address, timeout=30) as connection:
        connection.sendall(start)
        assert connection.recv(100) == b"", "closed by the server"


def test_a_connection_in_use_is_kept() -> None:
    with listening() as address, socket.create_connection(address, timeout=30) as connection:
        for _ in range(3):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 204")
            threading.Event().wait(0.2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model_path: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("refusing")
    (folder / "token").write_text(TOKEN)
    access = ("--token-file", folder / "token", "--max-upload", "1M")
    with Server(folder / "state", "-m", tiny_model_path, *access) as server:
        yield server


@pytest.mark.parametrize("token, status", [("wrong", b"401"), (TOKEN, b"413")])
def test_a_refused_sender_may_go_on_and_gets_the_answer(
    server: Server, token: str, status: bytes
) -> None:
    """Head and body come in two packets, as many clients send them."""
    host, port = server.url.removeprefix("http://").split(":")
    size = 4 * 2**20
    head = (
        f"POST /api/jobs HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\n"
        f"Authorization: Bearer {token}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode())
        assert connection.recv(12) == b"HTTP/1.1 " + status
        connection.sendall(b"x" * size)
        connection.sendall(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        answers = b""
        while b'{"status":"ok"}' not in answers:
            more = connection.recv(2**16)
            assert more, answers
            answers += more
