"""The process that keeps the model open and does what the server orders."""

import errno
import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lits_runtime.errors import CancelledError, LitsError
from lits_runtime.messages import printable
from lits_runtime.segment.options import Options
from lits_runtime.segment.segmenter import Segmenter
from lits_runtime.server.queue.orders import (
    Answer,
    Cancel,
    Done,
    Failed,
    Infer,
    NotReady,
    Progress,
    Ready,
    Segment,
    Show,
    Tensor,
)
from lits_runtime.server.settings import Settings
from lits_runtime.server.shown.shown_file import make_shown
from lits_runtime.volumes.open import choose_dicom

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def run_worker(connection: Connection, settings: Settings, device_id: int) -> None:
    """Open the model, then carry out orders until the connection ends.

    The worker ends with its server however that ends: it reads from the connection all the time.
    Signals that a terminal or an init system sends to the whole group are the server's business.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        segmenter = Segmenter.open(
            settings.model,
            provider=settings.provider,
            threads=settings.threads,
            device_id=device_id,
            sha256=settings.model_sha256,
        )
    except (LitsError, OSError, ImportError) as error:
        connection.send(NotReady(str(error)))
        return
    Worker(connection, segmenter).obey()


class Worker:
    """Carries out orders: a scan in a thread of its own, slabs and pictures beside it."""

    def __init__(self, connection: Connection, segmenter: Segmenter) -> None:
        self._connection, self._segmenter = connection, segmenter
        self._sending = threading.Lock()
        self._cancelled = threading.Event()
        # One thread for all scans: memory would grow with a new one, and its heap, for each.
        self._scans = ThreadPoolExecutor(1, thread_name_prefix="scans")
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="beside")

    def obey(self) -> None:
        """Do what is ordered until the server is gone; then end at once, whatever is in hand."""
        self._send(Ready(self._segmenter.provider))
        while True:
            try:
                order = self._connection.recv()
            except (EOFError, OSError):
                os._exit(0)
            if isinstance(order, Segment):
                self._cancelled.clear()
                self._scans.submit(self._segment, order)
            elif isinstance(order, Cancel):
                self._cancelled.set()
            elif isinstance(order, Infer | Show):
                self._beside.submit(self._answer, order)

    def _segment(self, order: Segment) -> None:
        options = dict(order.options)
        notes = options.pop("notes", ())
        try:
            scan = _with_notes(order.scan, notes)
            report = self._segmenter.segment_file(
                *(scan, order.mask.parent if order.formats else order.mask),
                formats=order.formats,
                mask_kind=options.pop("mask_kind", "labels"),
                options=Options(**options),
                progress=lambda done, of: self._send(Progress(done, of)),
                cancel=self._cancelled.is_set,
            )
        except Exception as error:
            self._send(_failed(error, order))
        else:
            self._send(Done(report.to_json()))

    def _answer(self, order: Infer | Show) -> None:
        try:
            if isinstance(order, Infer):
                outputs = self._infer(order)
            else:
                outputs = ()
                make_shown(order.scan, order.mask, order.mask_kind, order.shown)
        except Exception as error:
            self._send(Answer(order.number, error=_told(error, order)))
        else:
            self._send(Answer(order.number, outputs))

    def _infer(self, order: Infer) -> tuple[Tensor, ...]:
        run: dict[str, Callable[[Any], NDArray[Any]]] = {
            "labels": self._segmenter.labels,
            "probability": self._segmenter.probability,
        }
        slab_hu = np.frombuffer(order.slab.content, "<f4").reshape(order.slab.shape)
        return tuple(_tensor(run[name](slab_hu)) for name in order.outputs)

    def _send(self, message: Any) -> None:
        with self._sending:
            try:
                self._connection.send(message)
            except OSError:  # the server is gone
                os._exit(0)


def _with_notes(scan: Path, notes: Sequence[str]) -> Any:
    """A scan as it is given, or a DICOM series with reasons to doubt it that its sender gave."""
    if not notes:
        return scan
    series = choose_dicom([scan])
    return replace(series, notes=(*series.notes, *notes))


def _tensor(array: "NDArray[Any]") -> Tensor:
    return Tensor(str(array.dtype), array.shape, array.tobytes())


def _failed(error: Exception, order: Segment) -> Failed:
    if isinstance(error, CancelledError):
        return Failed("cancelled", cancelled=True)
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return Failed("the disk of the server is full", no_room=True)
    return Failed(_told(error, order))


def _told(error: Exception, order: Segment | Infer | Show) -> str:
    """What to tell of an error: without the server's paths, and without foreign text of a bug."""
    if isinstance(error, LitsError | OSError | MemoryError):
        text = " ".join(str(error).split()) or "out of memory"
        if not isinstance(order, Infer):
            text = text.replace(f"{order.scan.parent}{os.sep}", "")
        return printable(text)
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    line = "" if place is None else f" in {place.tb_frame.f_code.co_name}, line {place.tb_lineno}"
    return f"{type(error).__name__}{line} (a bug in lits-toolkit: please report it)"
