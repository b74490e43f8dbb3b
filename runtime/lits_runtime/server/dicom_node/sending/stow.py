"""Sends DICOM objects to a DICOMweb service by STOW-RS."""

import http.client
import json
import secrets
import ssl
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lits_runtime.messages import brief
from lits_runtime.server.dicom_node.sending.peers import WebPeer
from lits_runtime.server.dicom_node.sending.undelivered import PeerError

_IDLE_S = 120.0
"""Without a byte, not in all."""
_LONGEST_ANSWER = 2**20
_PIECE = 2**18
_FAILED, _REASON, _INSTANCE = "00081198", "00081197", "00081155"
"""Failed SOP Sequence, Failure Reason, Referenced SOP Instance UID."""


class Stow:
    """Sends to one service, one object a request.

    Args:
        peer: to send to.
        authorization: header of that name, or None.
        context: of TLS.
    """

    def __init__(self, peer: WebPeer, authorization: str | None, context: ssl.SSLContext) -> None:
        self._url = urlsplit(peer.url)
        self._authorization, self._context = authorization, context

    def send(self, files: Sequence[Path]) -> list[str | None]:
        """Send objects; for each None if the service has it now, or else the reason.

        Raises:
            PeerError: the service cannot be reached, or does not answer.
            OSError: a file cannot be read.
        """
        return [self._sent(file) for file in files]

    def _sent(self, file: Path) -> str | None:
        size = file.stat().st_size
        border = secrets.token_hex(16)
        head = f"--{border}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        tail = f"\r\n--{border}--\r\n".encode()
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={border}',
            "Content-Length": str(len(head) + size + len(tail)),
            "Accept": "application/dicom+json",
        }
        if self._authorization is not None:
            headers["Authorization"] = self._authorization
        with file.open("rb") as stream, closing(self._connection()) as connection:
            try:
                connection.request("POST", self._path, _body(head, stream, tail), headers)
                answer = connection.getresponse()
                return _why_refused(answer.status, answer.read(_LONGEST_ANSWER))
            except ssl.SSLCertVerificationError as error:
                reason = f"its certificate is not accepted: {error.verify_message}"
                raise PeerError(f"cannot be reached: {reason}") from None
            except (OSError, http.client.HTTPException) as error:
                reason = brief(getattr(error, "strerror", None) or error) or type(error).__name__
                raise PeerError(f"cannot be reached: {reason}") from None

    @property
    def _path(self) -> str:
        return f"{self._url.path}/studies"

    def _connection(self) -> http.client.HTTPConnection:
        host = self._url.hostname or ""
        if self._url.scheme == "https":
            return http.client.HTTPSConnection(
                host, self._url.port, timeout=_IDLE_S, context=self._context
            )
        return http.client.HTTPConnection(host, self._url.port, timeout=_IDLE_S)


def _body(head: bytes, stream: Any, tail: bytes) -> Iterator[bytes]:
    yield head
    while piece := stream.read(_PIECE):
        yield piece
    yield tail


def _why_refused(status: int, content: bytes) -> str | None:
    """What an answer says: an object may have failed although the status is 200."""
    if status in (401, 403):
        return f"HTTP status {status}: see --peer-authorization"
    failures = _failures(content)
    if failures:
        return f"refused with failure reason 0x{failures[0]:04X}"
    return None if status in (200, 202) else f"HTTP status {status}"


def _failures(content: bytes) -> list[int]:
    """Failure reasons in an answer; none if it is no DICOM JSON, as some services answer in XML."""
    try:
        found = json.loads(content).get(_FAILED, {}).get("Value", [])
        return [int(one.get(_REASON, {}).get("Value", [0])[0]) for one in found]
    except (ValueError, AttributeError, TypeError, IndexError, RecursionError):
        return []
