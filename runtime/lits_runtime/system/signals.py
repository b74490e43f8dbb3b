"""What a signal does to a command at work: it raises, so that half-written files go."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lits_runtime.system.launch import ENDING, leave_at_once

_IMPORT = "<frozen importlib._bootstrap>"


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Within the block signals raise, so that half-written files go; a second one does not wait.

    SIGINT is a `KeyboardInterrupt`, SIGTERM a `SystemExit` of 143. Does nothing outside the main
    thread, where Python sets no handlers.
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
    if _importing(frame):  # which would lose or reword what is raised here
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
