"""Sends DICOM objects to a peer by C-STORE."""

import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pynetdicom import AE
from pynetdicom.association import Association

from lits_runtime.errors import VolumeError
from lits_runtime.server.dicom_node.sending.peers import DicomPeer
from lits_runtime.server.dicom_node.sending.undelivered import PeerError
from lits_runtime.volumes.dicom.stored import read_header, stored_file

_CONNECT_S, _NEGOTIATE_S, _ANSWER_S = 10.0, 30.0, 120.0
_PLAIN = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
"""Explicit and implicit little endian, into which either can be converted."""
_REASONS = {
    (1, 3): "it does not know our AE title, see --ae-title",
    (1, 7): "its AE title is another one",
    (3, 1): "it is busy",
    (3, 2): "it has too many associations",
}
"""By source and diagnostic of a rejection, the usual ones."""


class CStore:
    """Sends to one peer.

    Args:
        peer: to send to.
        ae_title: our own.
        context: of TLS, or None.
    """

    def __init__(self, peer: DicomPeer, ae_title: str, context: ssl.SSLContext | None) -> None:
        self._peer, self._ae_title, self._context = peer, ae_title, context

    def send(self, files: Sequence[Path]) -> list[str | None]:
        """Send objects; for each None if the peer has it now, or else the reason.

        Raises:
            PeerError: the peer cannot be reached, or takes no association.
            OSError: a file cannot be read.
        """
        ae = AE(ae_title=self._ae_title)
        ae.connection_timeout, ae.acse_timeout = _CONNECT_S, _NEGOTIATE_S
        ae.dimse_timeout, ae.network_timeout = _ANSWER_S, _ANSWER_S
        try:
            for file in files:
                sop_class, syntax = _kind(file)
                ae.add_requested_context(sop_class, list(_PLAIN if syntax in _PLAIN else [syntax]))
        except VolumeError as error:
            raise PeerError(f"a result is damaged: {error}") from None
        association = self._associate(ae)
        try:
            return [self._sent(association, file, number) for number, file in enumerate(files, 1)]
        finally:
            if association.is_established:
                association.release()

    def _associate(self, ae: AE) -> Association:
        peer = self._peer
        tls: Any = None if self._context is None else (self._context, peer.host)
        try:
            address = _address(peer)
            association = ae.associate(address, peer.port, ae_title=peer.ae_title, tls_args=tls)
        except OSError as error:
            raise PeerError(f"cannot be reached: {error.strerror or error}") from None
        if association.is_established:
            return association
        if association.is_rejected:
            raise PeerError(f"rejects the association: {_why_rejected(association)}")
        raise PeerError(f"cannot be reached: {_why_not_reached(address, peer, self._context)}")

    def _sent(self, association: Association, file: Path, number: int) -> str | None:
        if not association.is_established:
            return "the peer broke off"
        try:
            status = association.send_c_store(file, msg_id=number).get("Status")
        except ValueError:
            return "the peer does not take objects of this kind (SOP class or transfer syntax)"
        if status is None:
            return "the peer gave no answer in time, or broke off"
        if status == 0 or status >> 12 == 0xB:  # a warning: it is stored
            return None
        return f"refused with status 0x{status:04X}"


def _kind(file: Path) -> tuple[str, str]:
    """SOP class and transfer syntax of an object."""
    header = read_header(stored_file(file), ("SOPClassUID",))
    return str(header.dataset.SOPClassUID), header.transfer_syntax_uid


def _address(peer: DicomPeer) -> str:
    found = socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)
    return str(found[0][4][0])


def _why_rejected(association: Association) -> str:
    told = association.acceptor.primitive
    if told is None:
        return "it gives no reason"
    found = (told.result_source or 0, told.diagnostic or 0)
    return _REASONS.get(found, f"source {found[0]}, reason {found[1]}")


def _why_not_reached(address: str, peer: DicomPeer, context: ssl.SSLContext | None) -> str:
    """The reason, which pynetdicom keeps to itself: found by another connection."""
    try:
        with socket.create_connection((address, peer.port), _CONNECT_S) as plain:
            if context is not None:
                with context.wrap_socket(plain, server_hostname=peer.host) as secure:
                    secure.settimeout(1.0)
                    with suppress(TimeoutError):
                        secure.recv(1)  # a certificate that is refused is told only now
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not accepted: {error.verify_message}"
    except ssl.SSLError as error:
        return f"TLS: {error.reason or error}"
    except OSError as error:
        return error.strerror or str(error)
    return "it accepts connections, but does not answer as a DICOM node does"
