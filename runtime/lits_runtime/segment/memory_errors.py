"""Memory that runs out: an error that names the scan, since NumPy names an array at most."""

from collections.abc import Iterator
from contextlib import contextmanager

from lits_runtime.errors import OutOfMemoryError
from lits_runtime.messages import brief


@contextmanager
def out_of_memory(what: str) -> Iterator[None]:
    """Raise an `OutOfMemoryError` that names `what`, where memory for it runs out in the block."""
    try:
        yield
    except OutOfMemoryError as error:
        raise OutOfMemoryError(f"{what}: {error}") from error
    except MemoryError as error:
        reason = brief(error) or "Python gives no reason"
        raise OutOfMemoryError(
            f"{what}: out of memory ({reason}); free some, or use a smaller batch size or fewer "
            "threads"
        ) from error
    except RuntimeError as error:
        if "can't start new thread" not in str(error):  # all that Python says of it
            raise
        raise OutOfMemoryError(f"{what}: out of memory for another thread") from error
