"""What may go wrong around a scan that is not the scan's: callbacks, and memory that runs out."""

from collections.abc import Iterator
from contextlib import contextmanager

from lits_runtime.arguments import described
from lits_runtime.errors import ArgumentError, OutOfMemoryError
from lits_runtime.messages import brief


def truth_of(answer: object) -> bool:
    """What a caller's `cancel` said.

    Raises:
        ArgumentError: an array of several values, of which none is the answer.
    """
    try:
        return bool(answer)
    except ValueError as error:
        raise ArgumentError(f"cancel gave {described(answer)}: {error}") from None


@contextmanager
def out_of_memory(what: str) -> Iterator[None]:
    """Say whose memory ran out: numpy names an array at most, and Python nothing."""
    try:
        yield
    except OutOfMemoryError as error:
        raise OutOfMemoryError(f"{what}: {error}") from error
    except MemoryError as error:
        reason = brief(error) or "no block of it was left"
        raise OutOfMemoryError(
            f"{what}: memory ran out ({reason}); free some, or take a smaller batch size, or fewer "
            "threads"
        ) from error
    except RuntimeError as error:
        if "can't start new thread" not in str(error):  # Python's only word for it
            raise
        raise OutOfMemoryError(f"{what}: memory ran out for another thread") from error
