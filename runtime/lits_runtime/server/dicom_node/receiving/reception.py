"""Series that come in image by image, from several senders at once, and when they are complete."""

import logging
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lits_runtime.server.dicom_node.receiving.image import Image
from lits_runtime.server.dicom_node.receiving.series_store import (
    Incoming,
    SeriesStore,
    Transfer,
)
from lits_runtime.server.queue.state_folder import StateFolder, sync
from lits_runtime.server.settings import NodeSettings

logger = logging.getLogger(__name__)


class Association(Protocol):
    """A sender's connection, as long as it lives."""

    def is_alive(self) -> bool:
        """Whether more may come."""


@dataclass
class _Open:
    """A series that comes in."""

    id: str
    transfer: Transfer
    last: float
    """When its last image came, or its last sender left."""
    senders: set[Association] = field(default_factory=set)
    writing: int = 0


class Reception:
    """Writes images to disk, and knows which series are complete.

    A series is complete a while after its last image, once all associations that sent images of it
    have ended; a longer while if the last one was broken off, as the sender will most likely
    repeat it.

    Args:
        store: of the series.
        folder: of their files.
        settings: of the node.
    """

    def __init__(self, store: SeriesStore, folder: StateFolder, settings: NodeSettings) -> None:
        self._store, self._folder, self._settings = store, folder, settings
        self._lock = threading.Lock()
        self._open: dict[str, _Open] = {}
        self._held: list[Incoming] = []
        """Complete, but not settled yet."""
        now = time.monotonic()
        for one in store.receiving():
            transfer = one.transfer
            if transfer == Transfer.OPEN:  # the last server ended in the middle of it
                transfer = Transfer.ABORTED
                store.set_transfer(one.id, transfer)
            if older := self._open.pop(one.key, None):  # which waited for room in the queue
                self._hold(older)
            self._open[one.key] = _Open(one.id, transfer, now)

    def take(self, image: Image, path: Path, source: str, association: Association) -> None:
        """Keep an image: when this returns, it outlasts a loss of power.

        Args:
            image: its facts.
            path: of its file, in the state folder; it is moved.
            source: AE title and address of the sender.
            association: by which it came.

        Raises:
            OSError, sqlite3.Error: the disk is full; the image is not kept.
        """
        with self._lock:
            one = self._open.get(image.key) or self._begin(image, source)
            if one.transfer != Transfer.OPEN:
                self._store.set_transfer(one.id, Transfer.OPEN)
                one.transfer = Transfer.OPEN
            one.senders.add(association)
            one.writing += 1
        try:
            folder = self._folder.series(one.id)
            _sync_file(path)
            path.replace(folder / f"{image.name}.dcm")
            sync(folder)
        finally:
            with self._lock:
                one.writing -= 1
                one.last = time.monotonic()

    def _begin(self, image: Image, source: str) -> _Open:
        job_id = secrets.token_hex(16)
        try:
            self._folder.begin_series(job_id)
            self._store.begin(job_id, image, source)
        except (OSError, sqlite3.Error):
            self._folder.remove(job_id)
            raise
        logger.info("series %s from %s: receiving", job_id[:8], source)
        one = self._open[image.key] = _Open(job_id, Transfer.OPEN, time.monotonic())
        return one

    def ended(self, association: Association, *, aborted: bool) -> None:
        """An association has ended, in order or not."""
        with self._lock:
            for one in self._open.values():
                if association in one.senders:
                    self._left(one, association, aborted)

    def _left(self, one: _Open, association: Association, aborted: bool) -> None:
        one.senders.discard(association)
        one.last = time.monotonic()
        one.transfer = Transfer.ABORTED if aborted else Transfer.RELEASED
        if aborted:
            wait = f"{self._settings.aborted_after_s:g}"
            logger.warning(
                "series %s: the sender broke off; waiting up to %s s for it to send again",
                *(one.id[:8], wait),
            )
        try:
            self._store.set_transfer(one.id, one.transfer)
        except sqlite3.Error as error:  # after a restart it counts as broken off
            logger.error("the state of a series cannot be written: %s", error)

    def complete(self) -> list[Incoming]:
        """Series that are complete now; new images of them begin new series."""
        with self._lock:
            for key, one in list(self._open.items()):
                for gone in [sender for sender in one.senders if not sender.is_alive()]:
                    self._left(one, gone, aborted=True)
                if self._is_complete(one):
                    del self._open[key]
                    self._hold(one)
            found, self._held = self._held, []
            return found

    def _hold(self, one: _Open) -> None:
        if (row := self._store.get(one.id)) is not None:
            self._held.append(row)

    def _is_complete(self, one: _Open) -> bool:
        if one.senders or one.writing:
            return False
        aborted = one.transfer == Transfer.ABORTED
        wait_s = self._settings.aborted_after_s if aborted else self._settings.complete_after_s
        return time.monotonic() - one.last >= wait_s

    def put_back(self, series: Sequence[Incoming]) -> None:
        """Complete series that cannot be settled yet; `complete` gives them again."""
        with self._lock:
            self._held = [*series, *self._held]


def _sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
