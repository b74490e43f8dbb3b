"""The workers of a run, the jobs that each has in hand, and what is done when one is lost.

Ray's own promises are not relied on (an actor's call may never return: ray #15045, #41258): each
worker is asked whether it is there, and one that is silent for too long is lost.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError

from lits_runtime.batch.job import Job
from lits_runtime.batch.ray_engine.cluster import is_alive
from lits_runtime.batch.ray_engine.worker import AT_ONCE
from lits_runtime.messages import brief

_ASK_S = 10.0


class Lost(NamedTuple):
    """What a worker that is lost had in hand."""

    jobs: list[Job]
    with_machine: bool
    """Whether its machine is gone too, for which no scan is to blame."""
    why: str


@dataclass
class Hand:
    """One worker."""

    actor: Any
    asked: Any
    """A question whether it is there."""
    heard_s: float = field(default_factory=time.monotonic)
    asked_s: float = field(default_factory=time.monotonic)
    node: str | None = None
    """None: it has not started yet."""
    process: int | None = None
    """Its number on that machine."""
    jobs: dict[Any, Job] = field(default_factory=dict)
    """By the reference of the result."""
    alone: bool = False
    """Whether its job may end it, so that it gets no second one."""

    def takes(self, alone: bool) -> bool:
        """Whether it can have one more job."""
        if self.node is None or self.alone:
            return False
        return not self.jobs if alone else len(self.jobs) < AT_ONCE

    def give(self, job: Job, alone: bool) -> None:
        """Send it a job."""
        self.jobs[self.actor.run.remote(job)] = job
        self.alone = alone


class Crew:
    """All workers.

    Args:
        start: starts a worker.
        silence_s: after which one is lost.
        blame_s: how long its machine may take to turn out to be lost too.
    """

    def __init__(self, start: Any, silence_s: float, blame_s: float) -> None:
        self._start, self._silence_s = start, silence_s
        self._blame_s = blame_s
        self._doubtful: list[tuple[float, Hand, str]] = []
        """Workers that are lost since a moment, and perhaps their machines; and why."""
        self._ask_s = min(_ASK_S, silence_s / 3)
        self.hands: list[Hand] = []
        self.problems: list[tuple[str, str]] = []
        """Why the model did not open, kind and text, newest last."""

    def grow(self, wanted: int) -> None:
        """Start workers until there are so many."""
        while len(self.hands) < wanted:
            actor = self._start()
            self.hands.append(Hand(actor, actor.where.remote()))

    @property
    def started(self) -> list[Hand]:
        """Those that have opened the model."""
        return [hand for hand in self.hands if hand.node is not None]

    @property
    def in_hand(self) -> int:
        """Jobs that are being done."""
        lost = (hand for _, hand, _ in self._doubtful)
        return sum(len(hand.jobs) for hand in (*self.hands, *lost))

    def hear(self, timeout_s: float) -> Iterator[tuple[Job, dict[str, Any]] | Lost]:
        """What came back since the last call: results, and workers that are lost."""
        references = [ref for hand in self.hands for ref in (*hand.jobs, hand.asked) if ref]
        if not references:
            time.sleep(timeout_s)
            yield from self._judged()
            return
        ready, _ = ray.wait(references, num_returns=1, timeout=timeout_s, fetch_local=False)
        if ready:  # take all that are
            ready, _ = ray.wait(references, num_returns=len(references), timeout=0)
        answered = set(ready)
        for hand in list(self.hands):
            try:
                yield from self._results(hand, answered)
                self._ask(hand, answered)
            except RayError as error:
                self._lose(hand, brief(type(error).__name__))
                continue
            if hand.node is not None and time.monotonic() - hand.heard_s > self._silence_s:
                self._lose(hand, f"no answer for {self._silence_s:.0f} s")
        yield from self._judged()

    def _results(self, hand: Hand, answered: set[Any]) -> Iterator[tuple[Job, dict[str, Any]]]:
        for reference in [one for one in hand.jobs if one in answered]:
            result = ray.get(reference)
            hand.alone = False
            yield hand.jobs.pop(reference), result

    def _ask(self, hand: Hand, answered: set[Any]) -> None:
        """Take the answer of a worker, and ask again from time to time."""
        if hand.asked in answered:
            hand.node, hand.process, problem = ray.get(hand.asked)
            hand.asked, hand.heard_s = None, time.monotonic()
            if problem is not None:
                self.problems.append(problem)
                self._dismiss(hand)
        elif hand.asked is None and time.monotonic() - hand.asked_s > self._ask_s:
            hand.asked, hand.asked_s = hand.actor.where.remote(), time.monotonic()

    def _lose(self, hand: Hand, why: str) -> None:
        self._dismiss(hand)
        self._doubtful.append((time.monotonic(), hand, why))

    def _judged(self) -> Iterator[Lost]:
        """Lost workers once it is known whether their machines are lost: that shows later."""
        for one in list(self._doubtful):
            since_s, hand, why = one
            gone = hand.node is not None and not is_alive(hand.node)
            if gone or not hand.jobs or time.monotonic() - since_s > self._blame_s:
                self._doubtful.remove(one)
                yield Lost(list(hand.jobs.values()), gone, why)

    def _dismiss(self, hand: Hand) -> None:
        self.hands.remove(hand)
        ray.kill(hand.actor)

    def stop(self) -> None:
        """Ask all workers to discard what they have in hand."""
        for hand in self.started:
            hand.actor.stop.remote()

    def close(self) -> None:
        """End all workers."""
        for hand in list(self.hands):
            self._dismiss(hand)
