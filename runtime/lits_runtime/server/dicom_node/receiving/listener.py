"""The service of C-ECHO and C-STORE: who may send, what is taken, and with which status."""

import logging
import sqlite3
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pynetdicom import AE, _config, evt
from pynetdicom.transport import ThreadedAssociationServer

from lits_runtime.errors import LitsError, OptionsError
from lits_runtime.messages import printable
from lits_runtime.server.dicom_node.receiving.connections import LONGEST_PDU, LimitedServer
from lits_runtime.server.dicom_node.receiving.image import read_image
from lits_runtime.server.dicom_node.receiving.reception import Reception
from lits_runtime.server.dicom_node.receiving.series_store import SeriesStore
from lits_runtime.server.dicom_node.tls import listening_context
from lits_runtime.server.queue.state_folder import StateFolder
from lits_runtime.server.settings import NodeSettings

logger = logging.getLogger(__name__)
_VERIFICATION = "1.2.840.10008.1.1"
_CT = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
"""CT, enhanced CT, and legacy converted enhanced CT; nothing that we make is among them."""
_SYNTAXES = (
    *("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"),
    *("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80"),
    *("1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"),
    *("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"),
    *("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"),
)
"""That our reader decodes: uncompressed, deflated, JPEG, JPEG-LS, JPEG 2000, HTJ2K, RLE."""
_TAKEN, _NO_ROOM, _NOT_WANTED, _NOT_READ = 0x0000, 0xA700, 0xA900, 0xC000
_SPARE_BYTES = 2**28
"""That an image must leave on the disk."""
_NEGOTIATE_S, _IDLE_S, _UNFINISHED_S = 15.0, 60.0, 300.0


class Listener:
    """Takes images of CT from senders that are allowed, until it is stopped.

    Args:
        settings: of the node.
        calling_aes: titles of senders; None: any.
        reception: keeps the images.
        store: of the series.
        folder: of their files.
    """

    def __init__(
        self,
        settings: NodeSettings,
        calling_aes: frozenset[str] | None,
        reception: Reception,
        store: SeriesStore,
        folder: StateFolder,
    ) -> None:
        self._settings, self._calling_aes = settings, calling_aes
        self._reception, self._store, self._folder = reception, store, folder
        self._server: ThreadedAssociationServer | None = None
        self._ae = _entity(settings, calling_aes)
        self._context = listening_context(settings)

    def start(self) -> int:
        """Listen; the port.

        Raises:
            OptionsError: the address cannot be used.
        """
        _config.STORE_RECV_CHUNKED_DATASET = True  # memory does not grow with an image
        _config.LOG_HANDLER_LEVEL = "none"
        tempfile.tempdir = str(self._folder.arrivals)  # where pynetdicom puts them
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store_image),
            (evt.EVT_RELEASED, self._ended, [False]),
            (evt.EVT_ABORTED, self._ended, [True]),
            (evt.EVT_REJECTED, self._rejected),
        ]
        try:
            server = self._ae.make_server(
                (self._settings.host, self._settings.port),
                ssl_context=self._context,
                evt_handlers=handlers,
                server_class=LimitedServer,
            )
        except OSError as error:
            raise OptionsError(
                f"cannot listen on {printable(self._settings.host)} port {self._settings.port} for "
                f"DICOM: {error.strerror}; choose another --dicom-host or --dicom-port"
            ) from None
        self._ae._servers.append(server)
        self._server = server
        threading.Thread(target=server.serve_forever, name="dicom", daemon=True).start()
        return int(server.server_address[1])

    def stop(self, patience_s: float) -> None:
        """Take no more associations, and break off those that do not end in time."""
        if (server := self._server) is None:
            return
        server.shutdown()
        _wait_for(server, patience_s)
        for association in server.active_associations:
            association.abort()
        _wait_for(server, patience_s)

    def tidy(self) -> None:
        """Remove images that their senders left unfinished."""
        oldest = time.time() - _UNFINISHED_S
        for file in self._folder.arrivals.glob("*.dcm"):
            with suppress(OSError):
                if file.stat().st_mtime < oldest:
                    file.unlink()

    def _store_image(self, event: Any) -> int:
        association, path = event.assoc, Path(event.dataset_path)
        association.dul.socket.received = 0
        try:
            return self._kept(association, path)
        except sqlite3.Error as error:
            logger.error("the state of series cannot be written: %s", error)
        except OSError as error:
            logger.error("an image cannot be written: %s", error.strerror)
        return _NO_ROOM

    def _kept(self, association: Any, path: Path) -> int:
        source = _source(association)
        if self._folder.free_bytes() < _SPARE_BYTES:
            logger.error("refused an image from %s: the disk is full", source)
            return _NO_ROOM
        try:
            image = read_image(path)
        except LitsError:
            logger.warning("refused an image from %s: it cannot be read", source)
            return _NOT_READ
        if image.is_ours or self._store.is_ours(image.key):
            logger.warning("refused an image from %s: lits-toolkit made it", source)
            return _NOT_WANTED
        self._reception.take(image, path, source, association)
        return _TAKEN

    def _ended(self, event: Any, aborted: bool) -> None:
        self._reception.ended(event.assoc, aborted=aborted)

    def _rejected(self, event: Any) -> None:
        association = event.assoc
        calling = association.requestor.ae_title.strip()
        called = association.requestor.primitive.called_ae_title.strip()
        if self._calling_aes is not None and calling not in self._calling_aes:
            reason = "it is neither a --calling-ae nor a --peer"
        elif called != self._settings.ae_title:
            reason = f"it calls {printable(called)!r}, expected {self._settings.ae_title!r}"
        else:
            reason = f"there are {self._settings.max_associations} associations already"
        logger.warning("rejected %s: %s", _source(association), reason)


def _wait_for(server: ThreadedAssociationServer, patience_s: float) -> None:
    """Wait until associations have ended."""
    end = time.monotonic() + patience_s
    while server.active_associations and time.monotonic() < end:
        time.sleep(0.05)


def _entity(settings: NodeSettings, calling_aes: frozenset[str] | None) -> AE:
    ae = AE(ae_title=settings.ae_title)
    ae.add_supported_context(_VERIFICATION)
    for sop_class in _CT:
        ae.add_supported_context(sop_class, list(_SYNTAXES))
    ae.require_called_aet = True
    ae.require_calling_aet = sorted(calling_aes or ())
    ae.maximum_associations = settings.max_associations
    ae.maximum_pdu_size = LONGEST_PDU
    ae.acse_timeout, ae.dimse_timeout, ae.network_timeout = _NEGOTIATE_S, _IDLE_S, _IDLE_S
    return ae


def _source(association: Any) -> str:
    """AE title and address of a sender."""
    title = printable(association.requestor.ae_title.strip())
    return f"{title}@{association.requestor.address}"
