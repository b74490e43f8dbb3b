"""The DICOM node of a server, from its start to its end."""

import logging
import os
import sqlite3
import threading
import time
import warnings
from dataclasses import replace

from lits_runtime.errors import OptionsError
from lits_runtime.server.dicom_node.receiving.clerk import Clerk
from lits_runtime.server.dicom_node.receiving.listener import Listener
from lits_runtime.server.dicom_node.receiving.reception import Reception
from lits_runtime.server.dicom_node.receiving.rules import Rules
from lits_runtime.server.dicom_node.receiving.series_store import Incoming, SeriesState, SeriesStore
from lits_runtime.server.dicom_node.sending.c_store import CStore
from lits_runtime.server.dicom_node.sending.courier import Courier, Sender
from lits_runtime.server.dicom_node.sending.outbox import Delivery, Outbox
from lits_runtime.server.dicom_node.sending.peers import DicomPeer, Peer, parse_peer
from lits_runtime.server.dicom_node.sending.stow import Stow
from lits_runtime.server.dicom_node.tls import calling_context
from lits_runtime.server.queue.dispatcher import Dispatcher
from lits_runtime.server.queue.job import Job
from lits_runtime.server.settings import NodeSettings

logger = logging.getLogger(__name__)
_LOOK_S = 0.5
_CLOSING_S = 5.0
_TIDY_S, _RETRY_S = 5.0, 5.0


class Node:
    """Receives series, makes them jobs of a dispatcher, and delivers their results.

    Args:
        settings: of the node.
        dispatcher: takes the jobs.

    Raises:
        OptionsError: rules, peers or certificates cannot be used.
        OSError: a file cannot be read.
    """

    def __init__(self, settings: NodeSettings, dispatcher: Dispatcher) -> None:
        self._settings, self._dispatcher = settings, dispatcher
        database = dispatcher.store.database
        self._store, self._outbox = SeriesStore(database), Outbox(database)
        rules = Rules() if settings.rules is None else Rules.read(settings.rules)
        peers = [parse_peer(text) for text in settings.peers]
        senders = self._senders(peers)
        reception = Reception(self._store, dispatcher.folder, settings)
        self._clerk = Clerk(dispatcher, reception, self._store, rules)
        self._courier = Courier(dispatcher, self._store, self._outbox, senders, settings.give_up_s)
        self._listener = Listener(
            settings, _allowed(settings, peers), reception, self._store, dispatcher.folder
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="series")

    def _senders(self, peers: list[Peer]) -> dict[str, Sender]:
        settings, context = self._settings, calling_context(self._settings)
        plain = settings.certificate is None
        return {
            peer.name: CStore(peer, settings.ae_title, None if plain else context)
            if isinstance(peer, DicomPeer)
            else Stow(peer, settings.peer_authorization, context)
            for peer in peers
        }

    def start(self) -> None:
        """Listen and deliver.

        Raises:
            OptionsError: the address cannot be used.
        """
        _keep_libraries_quiet()
        port = self._listener.start()
        self._courier.start()
        self._thread.start()
        settings = self._settings
        secure = ", TLS" if settings.certificate is not None else ""
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        loopback = host in ("localhost", "[::1]") or host.startswith("127.")
        reach = " (this computer only; see --dicom-host)" if loopback else ""
        logger.info("DICOM node %s on %s:%d%s%s", settings.ae_title, host, port, secure, reach)

    def stop(self) -> None:
        """Take nothing more; what is received or not yet delivered goes on at the next start."""
        self._listener.stop(_CLOSING_S)
        self._stopping.set()
        self._thread.join()
        self._courier.stop(_CLOSING_S)
        try:
            self._tidy()
        except (OSError, sqlite3.Error) as error:  # at the next start
            logger.error("the audit log cannot be written: %s", _told(error))

    @property
    def has_peers(self) -> bool:
        """Whether results go anywhere."""
        return bool(self._settings.peers)

    def series(self, limit: int) -> list[Incoming]:
        """The series that began to come in last, with the images that there are."""
        return [self._counted(one) for one in self._store.latest(limit)]

    def _counted(self, series: Incoming) -> Incoming:
        if series.state != SeriesState.RECEIVING:
            return series
        folder = self._dispatcher.folder.series(series.id)
        files = len(os.listdir(folder)) if folder.is_dir() else 0
        return replace(series, images=files * series.frames)

    def deliveries(self, limit: int) -> list[Delivery]:
        """The deliveries, those first that are not made."""
        return self._outbox.latest(limit)

    def retry(self) -> int:
        """Try all deliveries that are not made once more; how many there are."""
        return self._courier.retry()

    def send_again(self, job: Job) -> int:
        """Deliver the results of a job that is done once more; how many deliveries that makes."""
        return self._courier.send_again(job)

    def _run(self) -> None:
        tidied = 0.0
        while not self._stopping.wait(_LOOK_S):
            try:
                self._clerk.settle()
                self._courier.fill()
                if time.monotonic() - tidied >= _TIDY_S:
                    tidied = time.monotonic()
                    self._tidy()
            except Exception as error:
                logger.error("series and results wait: %s", _told(error))
                self._stopping.wait(_RETRY_S)

    def _tidy(self) -> None:
        self._listener.tidy()
        self._clerk.tidy(time.time() - self._dispatcher.settings.keep_s)
        self._courier.tidy()


def _told(error: Exception) -> str:
    """An error without text that may quote a header."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error) if isinstance(error, sqlite3.Error) else type(error).__name__


def _allowed(settings: NodeSettings, peers: list[Peer]) -> frozenset[str] | None:
    """AE titles that may send."""
    if settings.calling_aes is None:
        return None
    own = {peer.ae_title for peer in peers if isinstance(peer, DicomPeer)}
    allowed = frozenset({*settings.calling_aes, *own})
    if not allowed:
        raise OptionsError("nobody may send: give --calling-ae AE, or --any-calling-ae")
    return allowed


def _keep_libraries_quiet() -> None:
    """Log nothing of theirs: at some levels it quotes values, a patient's name among them."""
    for name in ("pynetdicom", "pydicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        warnings.filterwarnings("ignore", module=name)
