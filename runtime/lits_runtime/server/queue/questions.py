"""Orders that a worker carries out beside its job, and the answers that their senders wait for."""

import threading
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import replace
from itertools import count

from lits_runtime.server.queue.orders import Answer, Infer, Show, Tensor


class Questions:
    """Those to one device; used by the threads of requests and by the device's own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[int, Future[tuple[Tensor, ...]]] = {}
        self._waiting: list[Infer | Show] = []
        self._numbers = count(1)

    def ask(self, order: Infer | Show) -> "Future[tuple[Tensor, ...]]":
        """Queue an order.

        The result raises `ValueError` for what cannot be done, and `ConnectionError` if the worker
        ends.
        """
        answer: Future[tuple[Tensor, ...]] = Future()
        with self._lock:
            number = next(self._numbers)
            self._answers[number] = answer
            self._waiting.append(replace(order, number=number))
        return answer

    def next(self) -> Infer | Show | None:
        """The next order to send to the worker."""
        with self._lock:
            return self._waiting.pop(0) if self._waiting else None

    def answer(self, message: Answer) -> None:
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
