"""An opened model: session, metadata and threads; shared, closable, opened again after a fork."""

import ctypes
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any
from weakref import WeakSet

from lits_runtime.errors import ClosedError, ProviderError
from lits_runtime.model.checked_file import ModelFile, check
from lits_runtime.session.opening import Opening
from lits_runtime.session.providers import open_session, session_provider
from lits_runtime.system.processors import usable_processors

MAX_LANES = 8
"""Slabs that run at once on the CPU; each costs memory for its activations."""
FP16_ON_CPU = (
    "the model's precision fp16 is for GPUs: on a CPU it takes about 1.5 times as long as "
    "fp16-weights; run it on a GPU, or export it again with lits-export --precision fp16-weights"
)
_CLOSED = "this segmenter is closed; open another with Segmenter.open"


class Engine:
    """Runs slabs until it is closed.

    On the CPU several slabs run side by side with one thread each, which is up to twice as fast as
    one slab with all threads: layers of this size are too small to be shared out.

    Threads do not survive a fork, neither ours nor ONNX Runtime's: a child that used what it
    inherited would wait for them for ever, and one that only dropped it would crash. So a child
    leaves it untouched, and opens a session of its own when it first needs one.

    Args:
        session: of ONNX Runtime.
        model: what the session runs, checked.
        opening: how to open the same model again, in another process too.
        lanes: slabs that run at once.
        threads: of the session, for each slab.
    """

    def __init__(
        self, session: Any, model: ModelFile, opening: Opening, lanes: int, threads: int
    ) -> None:
        self.provider = session_provider(session)
        self.metadata = model.metadata
        self.model_sha256 = model.sha256
        self.opening = replace(opening, sha256=model.sha256)
        self.lanes = lanes
        self._session: Any = session
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False
        self._start_here()
        _engines.add(self)

    @classmethod
    def open(cls, opening: Opening, meanwhile: Sequence[str] = ()) -> "Engine":
        """Check a model file (see `model.checked_file.check`), and open a session for it.

        Args:
            opening: which model, and what to run it on.
            meanwhile: modules to import while ONNX Runtime prepares the session, which takes as
                long, and which holds no lock of the interpreter's.

        Raises:
            ModelError: not a model of this project, damaged, hostile, of a newer format, or of
                another SHA-256.
            ProviderError: the provider did not load; the message names what is missing.
            FileNotFoundError: there is no such file.
        """
        processors = opening.threads or usable_processors()
        lanes = min(processors, MAX_LANES)
        threads = processors // lanes
        with ThreadPoolExecutor(1) as importer:
            importer.submit(import_module, "onnxruntime")
            content = opening.content()
            checked = check(content, opening.sha256)
            for module in meanwhile:
                importer.submit(import_module, module)
            session = open_session(content, opening.provider, threads, opening.device_id)
        if session_provider(session) != "cpu":
            lanes = 1  # a GPU takes one slab after the other
        return cls(session, checked, opening, lanes, threads)

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _start_here(self) -> None:
        """Begin the count of users in this process, under a lock that nobody else can hold."""
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._users: Counter[int] = Counter()

    @contextmanager
    def in_use(self) -> Iterator[Any]:
        """The session, which stays open until the block is left.

        Raises:
            ClosedError: the engine is closed.
            ProviderError: this is a forked child, and the session was on a GPU.
            LitsError, OSError: the model could not be opened again after a fork.
        """
        self.leave_parent()
        thread, process = threading.get_ident(), self._process
        with self._changed:
            self.refuse_if_closed()
            if self._session is None:
                self._session = self._opened_again()
            session = self._session
            self._users[thread] += 1
        try:
            yield session
        finally:
            del session
            if process == os.getpid():  # else the count is the parent's
                with self._changed:
                    self._users[thread] -= 1
                    if not self._users[thread]:
                        del self._users[thread]
                        self._changed.notify_all()

    def pool(self) -> ThreadPoolExecutor:
        """The threads in which slabs run; shared by all calls, so that they share the machine.

        Raises:
            ClosedError: the engine is closed.
        """
        self.leave_parent()
        with self._changed:
            self.refuse_if_closed()
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.lanes, thread_name_prefix="slab")
            return self._pool

    @property
    def advice(self) -> str | None:
        """What would make this model faster here; None if nothing would."""
        if (self.metadata.precision, self.provider) == ("fp16", "cpu"):
            return FP16_ON_CPU
        return None

    @property
    def origins(self) -> tuple[Path, ...]:
        """The file that the model was read from, if any; no output may replace it."""
        return (self.opening.model,) if isinstance(self.opening.model, Path) else ()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def refuse_if_closed(self) -> None:
        """Raise a `ClosedError` after `close`."""
        if self._closed:
            raise ClosedError(_CLOSED)

    def close(self) -> None:
        """Refuse new calls, wait for those under way in other threads, and end all threads.

        Closing twice is no error.

        Raises:
            ClosedError: called from within a segmentation, as from its `progress`.
        """
        self.leave_parent()
        with self._changed:
            if threading.get_ident() in self._users:
                raise ClosedError(
                    "close() was called from within a segmentation, for example from its progress: "
                    "cancel the segmentation first, and close the segmenter after it"
                )
            self._closed = True
            while self._users:
                self._changed.wait()
            pool, self._pool, self._session = self._pool, None, None
        if pool is not None:
            pool.shutdown()

    def leave_parent(self) -> None:
        """In a forked child: let go of the parent's session and threads; else nothing."""
        if self._process == os.getpid():
            return
        if self._session is not None:
            _never_destroy(self._session)
        self._session = self._pool = None
        self._start_here()

    def _opened_again(self) -> Any:
        if self.provider != "cpu":
            raise ProviderError(
                f"the segmenter was opened on {self.provider} before this process was forked, and "
                "CUDA does not survive a fork: open one here, or start processes by spawn"
            )
        content = self.opening.content()
        check(content, self.opening.sha256)  # the file may have been replaced
        return open_session(content, self.provider, self._threads, self.opening.device_id)


_engines: WeakSet[Engine] = WeakSet()


def _never_destroy(session: Any) -> None:
    """Keep it to the end of the process: its destructor would wait for threads that are gone."""
    if sys.implementation.name == "cpython":
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
    _inherited.append(session)


_inherited: list[Any] = []


def _leave_parents() -> None:
    for engine in list(_engines):
        engine.leave_parent()


if hasattr(os, "register_at_fork"):  # else there is no fork; a fork in C finds the process's number
    os.register_at_fork(after_in_child=_leave_parents)
