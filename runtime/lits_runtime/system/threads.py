"""Two bounded stages of a pipeline: one thread prefetches items, several map them in order."""

import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future
from queue import Empty, Full, Queue
from typing import Any, Generic, TypeVar

from lits_runtime.errors import ClosedError

T = TypeVar("T")
R = TypeVar("R")

_POLL_S = 0.05


class Prefetched(Generic[T]):
    """Items that a thread of their own fetches, at most `depth` of them ahead of the consumer.

    The thread starts at once. It ends with the items, at an error (which the consumer gets), or
    when the block is left.
    """

    def __init__(self, items: Iterable[T], depth: int) -> None:
        self._items = items
        self._queue: Queue[tuple[T | None, BaseException | None]] = Queue(depth)
        self._closed = threading.Event()
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._fetch, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Prefetched[T]":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[T]:
        while True:
            same_process(self._process)
            item, error = self._queue.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item

    def close(self) -> None:
        """Stop fetching, and wait until the thread has closed what it reads."""
        if self._process != os.getpid():
            return  # the thread is the parent's, and the event's lock may be held by it
        self._closed.set()
        while self._thread.is_alive():
            try:
                self._queue.get_nowait()
            except Empty:
                self._thread.join(_POLL_S)

    def _fetch(self) -> None:
        items = iter(self._items)
        try:
            for item in items:
                if not self._put(item, None):
                    return
            self._put(None, None)
        except BaseException as error:  # whatever it is, the consumer must get it
            self._put(None, error)
        finally:
            if hasattr(items, "close"):
                items.close()

    def _put(self, item: T | None, error: BaseException | None) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put((item, error), timeout=_POLL_S)
            except Full:
                continue
            return True
        return False


def ordered_map(
    pool: Executor, function: Callable[[T], R], items: Iterable[T], depth: int
) -> Generator[R, None, None]:
    """Results in the order of the items, at most `depth` of them running or waiting to be taken."""
    under_way: deque[Future[R]] = deque()
    process = os.getpid()
    try:
        for item in items:
            under_way.append(pool.submit(function, item))
            if len(under_way) >= depth:
                yield under_way.popleft().result()
                same_process(process)
        while under_way:
            yield under_way.popleft().result()
            same_process(process)
    finally:
        cancel_and_wait(under_way, process)


def cancel_and_wait(futures: Collection[Future[Any]], process: int) -> None:
    """Cancel what has not begun, and wait for the rest: the caller closes what it uses next.

    Args:
        futures: under way.
        process: that started them; in another one there is nothing to wait for.
    """
    if process != os.getpid():
        return
    for future in futures:
        future.cancel()
    for future in futures:
        if not future.cancelled():
            future.exception()


def same_process(number: int) -> None:
    """Refuse to wait for threads that a fork did not copy.

    Args:
        number: the process that started them.

    Raises:
        ClosedError: this is another process.
    """
    if number != os.getpid():
        raise ClosedError(
            "this segmentation was begun before the process was forked, which does not copy its "
            "threads: start it again in this process"
        )
