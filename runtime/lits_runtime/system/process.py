"""What a command asks of its own process to run faster or smaller, with the measured gain of each.

Measured as medians of ten whole runs of lits-infer in turn, with and without, on two cores and a CT
of 512 x 512 x 60. What gained under 3 % is not here.
"""

import atexit
import gc
from contextlib import suppress


def return_freed_memory() -> None:
    """Return all freed memory to the system: 10 % of the peak, once a model is open."""
    import ctypes  # only where it is needed: a command that opens no model starts without it

    with suppress(OSError, AttributeError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def skip_last_collection() -> None:
    """End the process without a last garbage collection: 6 % of the processor time."""
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
