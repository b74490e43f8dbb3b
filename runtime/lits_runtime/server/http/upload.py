"""A multipart upload, streamed to disk as it comes; memory does not grow with it."""

import asyncio
import errno
import json
import os
import time
from collections.abc import AsyncIterator
from typing import Any, BinaryIO

from fastapi import HTTPException, Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

_PIECE = 2**20
"""Bytes written at once."""
_MAX_OPTIONS = 16_384
_MAX_HEADERS = 4_096
_MAX_PARTS = 8
_LEAST_RATE = 20_000.0
"""Bytes a second below which a sender is cut off, counted from the start."""


class Upload:
    """The parts of one request: `scan` goes to a file, `options` to memory.

    Args:
        file: to write the scan to.
        boundary: of the parts.
        max_bytes: of the scan.
        patience_s: that a sender has in any case.
    """

    def __init__(
        self, file: BinaryIO, boundary: bytes, max_bytes: int, patience_s: float = 30.0
    ) -> None:
        self.size = 0
        self.options = bytearray()
        self.start = b""
        """The first bytes of the scan."""
        self._file, self._max_bytes, self._patience_s = file, max_bytes, patience_s
        self._piece = bytearray()
        self._part, self._parts, self._seen = "", 0, set[str]()
        self._header, self._value, self._disposition = b"", b"", b""
        self.complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._take_header,
                "on_header_value": self._take_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._take_data,
                "on_end": self._end,
            },
        )

    async def receive(self, request: Request) -> None:
        """Take the whole body, and sync the file.

        Raises:
            HTTPException: malformed, too large or too slow.
            OSError: the disk is full.
        """
        began, received = time.monotonic(), 0
        body = request.stream().__aiter__()
        while True:
            left_s = began + self._patience_s + received / _LEAST_RATE - time.monotonic()
            chunk = await _next(body, left_s)
            if chunk is None:
                break
            received += len(chunk)
            if received > self._max_bytes + _PIECE:
                raise too_large(self._max_bytes)
            try:
                self._parser.write(chunk)
            except FormParserError as error:
                raise HTTPException(400, f"malformed multipart body: {error}") from None
            if len(self._piece) >= _PIECE:
                await self._write()
        await self._write()
        await run_in_threadpool(self._sync)
        self._check()

    def _check(self) -> None:
        if not self.complete:
            raise HTTPException(400, "the multipart body ends before its last boundary")
        if "scan" not in self._seen:
            raise HTTPException(
                422, "no field 'scan': send the scan in a multipart field of that name"
            )
        if not self.size:
            raise HTTPException(422, "the field 'scan' is empty")

    async def _write(self) -> None:
        piece, self._piece = self._piece, bytearray()
        if piece:
            await run_in_threadpool(self._file.write, piece)

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise HTTPException(400, f"more than {_MAX_PARTS} parts: expected 'scan' and 'options'")
        self._disposition, self._header, self._value = b"", b"", b""

    def _take_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]
        self._bound_header()

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._bound_header()

    def _bound_header(self) -> None:
        if len(self._header) + len(self._value) > _MAX_HEADERS:
            raise HTTPException(400, f"a header of a part is longer than {_MAX_HEADERS} bytes")

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _end_headers(self) -> None:
        """Learn the name of the part; the sender's file name is not looked at."""
        name = parse_options_header(self._disposition)[1].get(b"name", b"")
        self._part = name.decode("utf-8", "replace")
        if self._part not in ("scan", "options"):
            raise HTTPException(422, "a field of another name: expected 'scan' and 'options'")
        if self._part in self._seen:
            raise HTTPException(422, f"two fields {self._part!r}: send one scan per job")
        self._seen.add(self._part)

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if self._part == "options":
            self.options += data[start:end]
            if len(self.options) > _MAX_OPTIONS:
                raise HTTPException(413, f"options of more than {_MAX_OPTIONS} bytes")
            return
        self.size += end - start
        if self.size > self._max_bytes:
            raise too_large(self._max_bytes)
        if len(self.start) < _LONGEST_START:
            self.start += data[start : min(end, start + _LONGEST_START - len(self.start))]
        self._piece += data[start:end]

    def _end(self) -> None:
        self.complete = True


_LONGEST_START = 4


def boundary_of(request: Request) -> bytes:
    """The boundary of a multipart request.

    Raises:
        HTTPException: the request is of another kind.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= 200:
        raise HTTPException(415, "expected multipart/form-data with a field 'scan'")
    return boundary


def declared_bytes(request: Request) -> int:
    """What the request says about the size of its body; 0 if nothing."""
    text = request.headers.get("content-length", "0")
    return int(text) if text.isascii() and text.isdigit() else 0


def ending_of(start: bytes) -> str:
    """The ending of a scan by its first bytes: gzip, ZIP, or else uncompressed NIfTI.

    >>> ending_of(b"PK" + bytes([3, 4]))
    '.zip'
    """
    if start[:2] == b"\x1f\x8b":
        return ".nii.gz"
    return ".zip" if start[:4] in (b"PK\x03\x04", b"PK\x05\x06") else ".nii"


def parsed_options(text: bytes) -> Any:
    """The JSON of the field `options`; an empty object if there was none.

    Raises:
        HTTPException: no JSON.
    """
    try:
        return json.loads(text or b"{}")
    except (ValueError, RecursionError):
        raise HTTPException(422, 'options: not JSON; an example is {"tta": true}') from None


def too_large(max_bytes: int) -> HTTPException:
    """The answer to an upload beyond the limit."""
    return HTTPException(413, f"the scan has more than {max_bytes} bytes, the limit of this server")


def no_room(error: OSError | None = None) -> HTTPException:
    """The answer when the disk is full."""
    if error is not None and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        raise error
    return HTTPException(507, "the disk of the server is full: tell its administrator, try later")


async def _next(body: AsyncIterator[bytes], left_s: float) -> bytes | None:
    try:
        return await asyncio.wait_for(anext(body), max(0.0, left_s))
    except StopAsyncIteration:
        return None
    except TimeoutError:
        raise HTTPException(408, "the upload came too slowly: send it again") from None
    except ClientDisconnect:
        raise HTTPException(400, "the sender hung up") from None
