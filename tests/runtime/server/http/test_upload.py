"""The multipart reader on its own: pieces of any size, slow senders, a full disk."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException, Request

from lits_runtime.server.http.upload import Upload
from support.files.full_disk import largest_file

HEAD = b'--b\r\nContent-Disposition: form-data; name="scan"; filename="../../a"\r\n\r\n'
OPTIONS = b'\r\n--b\r\nContent-Disposition: form-data; name="options"\r\n\r\n{"tta": true}'
END = b"\r\n--b--\r\n"


def received(pieces: Sequence[bytes], file: Any, pause_s: float = 0.0, **arguments: Any) -> Upload:
    """The upload of pieces that come one by one."""
    waiting = list(pieces)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(pause_s)
        piece = waiting.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(waiting)}

    upload = Upload(file, b"b", 10**6, **arguments)
    asyncio.run(upload.receive(Request({"type": "http", "headers": []}, receive)))
    return upload


@pytest.mark.parametrize("seed", range(20))
def test_pieces_of_any_size_make_the_same_scan(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    scan = chance.randbytes(3000) + b"\r\n--b-\r\n--" + chance.randbytes(50)
    body = HEAD + scan + OPTIONS + END
    cuts = sorted(chance.sample(range(1, len(body)), chance.randint(1, 200)))
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    with (tmp_path / "scan").open("xb") as file:
        upload = received(pieces, file)
    assert (tmp_path / "scan").read_bytes() == scan
    assert (upload.size, bytes(upload.options)) == (len(scan), b'{"tta": true}')
    assert upload.start == scan[:4]


def test_a_slow_sender_is_cut_off(tmp_path: Path) -> None:
    with (tmp_path / "scan").open("xb") as file, pytest.raises(HTTPException) as caught:
        received([HEAD, *[b"x"] * 100, END], file, pause_s=0.02, patience_s=0.2)
    assert caught.value.status_code == 408


def test_a_steady_sender_is_not(tmp_path: Path) -> None:
    with (tmp_path / "scan").open("xb") as file:
        pieces = [HEAD, *[b"x" * 4000] * 20, END]
        assert received(pieces, file, pause_s=0.02, patience_s=0.2).size == 80_000


def test_a_full_disk_is_an_error_of_the_disk(tmp_path: Path) -> None:
    file = (tmp_path / "scan").open("xb")
    with largest_file(1000), pytest.raises(OSError, match="too large"), file:
        received([HEAD, b"x" * 5000, END], file)


@pytest.mark.parametrize("seed", range(200))
def test_a_mutated_body_is_refused_or_read(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    body = bytearray(HEAD + b"x" * 50 + OPTIONS + END)
    for _ in range(chance.randint(1, 5)):
        place = chance.randrange(len(body))
        body[place : place + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
    with (tmp_path / "scan").open("xb") as file:
        try:
            upload = received([bytes(body)], file)
        except HTTPException as error:
            assert error.status_code in (400, 413, 422)
            assert "\n" not in error.detail
        else:
            assert upload.size == (tmp_path / "scan").stat().st_size
