"""pynetdicom's server with limits: no sender can hold it up, or make it take what has no end."""

import logging
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

logger = logging.getLogger(__name__)
LONGEST_PDU = 2**17
"""That is announced to senders."""
_REFUSED_PDU = 2**22
"""Some senders do not keep to it."""
_LARGEST_OBJECT = 2**31
_PATIENCE_S = 30.0
"""For a PDU that has begun, and for the handshake of TLS."""


class LimitedSocket(AssociationSocket):
    """Reads PDUs of limited size within a limited time."""

    received = 0
    """Bytes since it was last set to 0."""

    def recv(self, nr_bytes: int) -> bytearray:
        """So many bytes, or fewer if the connection ends.

        Raises:
            OSError: the PDU is too long or comes too slowly, or the handshake fails.
        """
        self.received += nr_bytes
        if nr_bytes > _REFUSED_PDU or self.received > _LARGEST_OBJECT:
            raise ConnectionError("a PDU or object beyond the limits")
        assert self.socket is not None
        content, read, end = bytearray(nr_bytes), 0, time.monotonic() + _PATIENCE_S
        with memoryview(content) as view:
            while read < nr_bytes:
                self.socket.settimeout(max(0.01, end - time.monotonic()))
                count = self._received_into(view[read:])
                if not count:
                    break
                read += count
        self.socket.settimeout(_PATIENCE_S)  # for answers
        del content[read:]
        return content

    def _received_into(self, view: memoryview) -> int:
        assert self.socket is not None
        try:
            return self.socket.recv_into(view)
        except ssl.SSLError as error:
            address = self.assoc.requestor.address
            logger.warning("refused a connection from %s: TLS: %s", address, error.reason)
            raise


class LimitedHandler(RequestHandler):
    """Gives each association its limited socket, and ends its two threads with each other."""

    def _create_association(self) -> Association:
        association = super()._create_association()
        association.dul.event_queue.get_nowait()  # the usual socket said that it is open
        association.dul.socket = None
        association.set_socket(LimitedSocket(association, client_socket=self.request))
        read, serve = association.dul.run, association.run

        def read_to_the_end() -> None:
            _run(read)
            if association.requestor.primitive is None:  # else the other thread would wait for it
                association.dul.to_user_queue.put(None)  # type: ignore[arg-type]

        association.dul.run = read_to_the_end  # type: ignore[method-assign]
        association.run = partial(_run, serve)  # type: ignore[method-assign]
        return association


def _run(thread: Callable[[], None]) -> None:
    """Run a thread; what ends it before its time is told without text that may be the sender's."""
    try:
        thread()
    except Exception as error:
        logger.warning("an association ended by %s", type(error).__name__)


class LimitedServer(ThreadedAssociationServer):
    """Accepts connections without waiting for what they send."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options["request_handler"] = LimitedHandler
        super().__init__(*arguments, **options)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """A connection; its handshake is left to its own thread."""
        assert self.socket is not None
        accepted, address = self.socket.accept()
        if self.ssl_context is not None:
            accepted = self.ssl_context.wrap_socket(
                accepted, server_side=True, do_handshake_on_connect=False
            )
        return accepted, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for one more connection, association or not."""
        return len(self.active_associations) < 2 * self.ae.maximum_associations

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that fails at its start is closed."""
        logger.warning("a connection from %s failed at its start", client_address[0])
