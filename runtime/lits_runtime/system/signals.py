"""Signals while a command runs: they raise, so that half-written files are removed."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lits_runtime.system.launch import ENDING, leave_at_once

_IMPORT = "<frozen importlib._bootstrap>"


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Within the block SIGINT raises `KeyboardInterrupt` and SIGTERM `SystemExit(143)`.

    A second signal ends the process at once. Outside the main thread, where Python sets no
    handlers, this does nothing.
    """
    before = {}
    try:
        for number in ENDING:
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, _end_in_order)
    except ValueError:  # not the main thread
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_in_order(number: int, frame: FrameType | None) -> None:
    if _importing(frame):  # the import would swallow or reword what is raised here
        leave_at_once(number, frame)
    for other in ENDING:
        signal.signal(other, leave_at_once)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORT:
            return True
        frame = frame.f_back
    return False
