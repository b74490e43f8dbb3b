"""A caller's callbacks: what they take, and what their answers mean."""

from collections.abc import Callable
from typing import TypeAlias

from lits_runtime.arguments import described
from lits_runtime.errors import ArgumentError

Progress: TypeAlias = Callable[[int, int], None]
"""Takes (slices done, slices in all)."""
Cancel: TypeAlias = Callable[[], bool]
"""Says whether to stop."""


def check_callbacks(progress: Progress | None, cancel: Cancel | None) -> None:
    """Make sure that callbacks can be called.

    Raises:
        ArgumentError: one of them cannot.
    """
    for name, callback in (("progress", progress), ("cancel", cancel)):
        if callback is not None and not callable(callback):
            raise ArgumentError(f"{name}: {described(callback)}, expected a function")


def is_cancelled(cancel: Cancel | None) -> bool:
    """Ask whether to stop.

    Raises:
        ArgumentError: the answer is neither true nor false, as an array of several values.
    """
    if cancel is None:
        return False
    answer: object = cancel()
    try:
        return bool(answer)
    except ValueError as error:
        raise ArgumentError(f"cancel returned {described(answer)}: {error}") from None
