"""A session and the threads that feed it: shared by callers, closable, made anew after a fork."""

import ctypes
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

from lits_runtime.errors import ClosedError, ProviderError
from lits_runtime.session.providers import session_provider

_CLOSED = "this segmenter is closed; open another with Segmenter.open"


class Engine:
    """Runs slabs until it is closed.

    Threads do not survive a fork, neither ours nor ONNX Runtime's: a child that used what it
    inherited would wait for them for ever, and one that only dropped it would crash. So a child
    lets go of it untouched, and makes a session of its own when it first needs one.

    Args:
        session: of ONNX Runtime.
        lanes: slabs that run at once.
        reopen: makes another such session, on the given provider.
    """

    def __init__(self, session: Any, lanes: int, reopen: Callable[[str], Any]) -> None:
        self.provider = session_provider(session)
        self.lanes = lanes
        self._session: Any = session
        self._reopen = reopen
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False
        self._start_here()
        _engines.add(self)

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
            if self._closed:
                raise ClosedError(_CLOSED)
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
            if self._closed:
                raise ClosedError(_CLOSED)
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.lanes, thread_name_prefix="slab")
            return self._pool

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Refuse new work, wait for what is under way in other threads, and end all threads.

        Raises:
            ClosedError: called out of work that is under way, which would wait for itself.
        """
        self.leave_parent()
        with self._changed:
            if threading.get_ident() in self._users:
                raise ClosedError(
                    "close() was called out of a segmentation under way, for example out of its "
                    "progress: cancel it, and close the segmenter after it"
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
        return self._reopen(self.provider)


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
