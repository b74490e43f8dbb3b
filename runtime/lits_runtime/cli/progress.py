"""A batch at a terminal: the progress bar, and an orderly stop on a signal."""

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

from lits_runtime.batch.job import Job
from lits_runtime.messages import printable


class Stop:
    """Whether a signal asked to stop, and which."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def requested(self) -> bool:
        """Whether to stop."""
        return self.signal_number is not None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal; a second one ends the process by its default action."""
        self.signal_number = number
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def stopping_on_signals(stop: Stop | None = None) -> Iterator[Stop]:
    """Turn Ctrl-C and SIGTERM into a request to stop after the current slab or step."""
    stop = stop or Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class ProgressBar:
    """Slices of the current scan, and which scan it is; nothing unless stderr is a terminal.

    It opens with the first slices that are done: importing tqdm takes longer than segmenting them,
    and where no bar is shown nothing need wait for it.
    """

    def __init__(self, scans: int) -> None:
        self._scans, self._done = scans, 0
        level = logging.getLogger("lits_runtime").level
        self._wanted = level <= logging.INFO and sys.stderr.isatty()
        self._bar: Any = None
        self._open = ExitStack()

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def show(self, job: Job, done: int, of: int) -> None:
        """Show `done` of `of` slices of a job."""
        if not self._wanted:
            return
        if self._bar is None:
            from tqdm import tqdm
            from tqdm.contrib.logging import logging_redirect_tqdm

            self._bar = self._open.enter_context(tqdm(total=of, unit="slice", leave=False))
            self._open.enter_context(logging_redirect_tqdm())
        if self._bar.total != of or done < self._bar.n:
            self._bar.reset(of)
        name = job.name if job.series else printable(job.scan.name)
        self._bar.set_description(f"{self._done + 1}/{self._scans} {name}", refresh=False)
        self._bar.update(done - self._bar.n)

    def scan_done(self) -> None:
        """Count a scan."""
        self._done += 1
