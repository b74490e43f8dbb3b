"""Cases processed in parallel, with a progress bar on stderr."""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from tqdm import tqdm

from lits_runtime.errors import DatasetError

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], jobs: int, title: str
) -> Iterator[tuple[Item, Result]]:
    """Each item with the function's result, as results become available.

    Args:
        function: one that can be pickled, if there is more than one process.
        items: its arguments, one per call.
        jobs: number of processes; 1 is this one.
        title: of the progress bar.

    Raises:
        DatasetError: a process was killed.
    """
    quiet = not logger.isEnabledFor(logging.INFO)
    with tqdm(total=len(items), desc=title, unit="case", disable=quiet or None) as progress:
        results = _here(function, items) if jobs < 2 else _there(function, items, jobs)
        for result in results:
            progress.update()
            yield result


def _here(
    function: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[tuple[Item, Result]]:
    for item in items:
        yield item, function(item)


def _there(
    function: Callable[[Item], Result], items: Sequence[Item], jobs: int
) -> Iterator[tuple[Item, Result]]:
    # Not fork: a child of a process that has used torch's threads may hang.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(min(jobs, len(items) or 1), context, _begin)
    try:
        futures = {executor.submit(function, item): item for item in items}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise DatasetError(
            "a worker process was killed, most likely for its memory: use fewer --jobs; finished "
            "cases are kept"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def _begin() -> None:
    """Leave Ctrl-C to the parent, and exit when it does, even if it was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    sentinel = parent.sentinel
    threading.Thread(target=lambda: (wait([sentinel]), os._exit(1)), daemon=True).start()
