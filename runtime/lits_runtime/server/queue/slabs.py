"""Slabs that wait for a worker, and the answers that their senders wait for."""

import threading
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from itertools import count

from lits_runtime.server.queue.orders import Infer, Inferred, Tensor


class Slabs:
    """The slabs of one device; used by the threads of requests and by the device's own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[int, Future[tuple[Tensor, ...]]] = {}
        self._waiting: list[Infer] = []
        self._numbers = count()

    def ask(self, slab: Tensor, outputs: tuple[str, ...]) -> "Future[tuple[Tensor, ...]]":
        """Queue a slab.

        The result raises `ValueError` for a slab that the model does not take, and
        `ConnectionError` if the worker ends.
        """
        answer: Future[tuple[Tensor, ...]] = Future()
        with self._lock:
            number = next(self._numbers)
            self._answers[number] = answer
            self._waiting.append(Infer(number, slab, outputs))
        return answer

    def next(self) -> Infer | None:
        """The next slab to send to the worker."""
        with self._lock:
            return self._waiting.pop(0) if self._waiting else None

    def answer(self, message: Inferred) -> None:
        """Give an answer to its sender, if that still waits."""
        with self._lock:
            answer = self._answers.pop(message.number, None)
        if answer is None:
            return
        with suppress(InvalidStateError):  # the sender has hung up
            if message.error is None:
                answer.set_result(message.outputs)
            else:
                answer.set_exception(ValueError(message.error))

    def refuse(self, reason: str) -> None:
        """Tell all senders that there will be no answer."""
        with self._lock:
            answers = list(self._answers.values())
            self._answers.clear()
            self._waiting.clear()
        for answer in answers:
            with suppress(InvalidStateError):
                answer.set_exception(ConnectionError(reason))
