"""Results on their way to the peers, as a table beside the jobs that they belong to."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from lits_runtime.server.database import Database
from lits_runtime.server.dicom_node.receiving.series_store import SeriesState

FIRST_PAUSE_S, LONGEST_PAUSE_S = 15.0, 600.0


class DeliveryState(StrEnum):
    """Where a result is."""

    WAITING = "waiting"
    SENT = "sent"
    DEAD = "dead"
    """It was tried for as long as it is worth; kept until it is sent again or forgotten."""


@dataclass(frozen=True)
class Delivery:
    """A row of the table: one object to one peer."""

    number: int
    job: str
    kind: Literal["seg", "sr"]
    """"seg" or "sr"."""
    peer: str
    key: str
    """Stands for the UID of its series."""
    state: DeliveryState
    attempts: int
    since: float
    """When it was first to be sent, or was asked for again."""
    due: float
    """The next attempt."""
    settled: float | None
    error: str | None
    """Of the last attempt."""


_FIELDS = "number, job, kind, peer, key, state, attempts, since, due, settled, error"
Made = tuple[str, str, str]
"""Kind, peer and key of a delivery to be made."""


class Outbox:
    """The deliveries of one server; each change is one committed transaction.

    Args:
        database: of the jobs, too.
    """

    def __init__(self, database: Database) -> None:
        self._change, self._read = database.change, database.read

    def fill(self, job_id: str, made: Iterable[Made]) -> None:
        """Put the results of a series' job in, and note that this is done."""
        with self._change() as rows:
            rows.executemany(_PUT, [(job_id, *one, time.time(), time.time()) for one in made])
            rows.execute("update series set state = ? where id = ?", (SeriesState.ENDED, job_id))

    def send_again(self, job_id: str, made: Iterable[Made]) -> None:
        """Put the results of a job in as if they had never been sent."""
        with self._change() as rows:
            rows.executemany(_PUT, [(job_id, *one, time.time(), time.time()) for one in made])

    def retry(self) -> int:
        """Try all that is dead or waits once more, now; how many there are."""
        with self._change() as rows:
            done = rows.execute(
                "update outbox set state = ?, settled = null, attempts = 0, since = ?, due = ?, "
                "audited = 0 where state in (?, ?)",
                (
                    *(DeliveryState.WAITING, time.time(), time.time()),
                    *(DeliveryState.WAITING, DeliveryState.DEAD),
                ),
            )
            return done.rowcount

    def due(self, peer: str) -> list[Delivery]:
        """What is due for a peer now, of one job, SEG first."""
        found = self._deliveries(
            "where state = ? and peer = ? and due <= ? order by due, number",
            *(DeliveryState.WAITING, peer, time.time()),
        )
        return sorted((one for one in found if one.job == found[0].job), key=lambda one: one.kind)

    def sent(self, delivery: Delivery) -> None:
        """Note that the peer has it."""
        with self._change() as rows:
            rows.execute(
                "update outbox set state = ?, attempts = attempts + 1, settled = ?, error = null "
                "where number = ?",
                (DeliveryState.SENT, time.time(), delivery.number),
            )

    def failed(self, deliveries: Sequence[Delivery], error: str, give_up_s: float) -> None:
        """Note a failed attempt; the next is after a pause that doubles, or never."""
        now = time.time()
        values = list[tuple[object, ...]]()
        for one in deliveries:
            dead = now - one.since >= give_up_s
            state = DeliveryState.DEAD if dead else DeliveryState.WAITING
            due, settled = now + pause_s(one.attempts), now if dead else None
            values.append((state, due, settled, error, one.number))
        with self._change() as rows:
            rows.executemany(
                "update outbox set state = ?, attempts = attempts + 1, due = ?, settled = ?, "
                "error = ? where number = ?",
                values,
            )

    def bury(self, peers: Sequence[str]) -> None:
        """Give up what waits for other peers than these."""
        marks = ", ".join("?" * len(peers))
        with self._change() as rows:
            rows.execute(
                "update outbox set state = ?, settled = ?, error = ? "
                f"where state = ? and peer not in ({marks})",
                (
                    *(DeliveryState.DEAD, time.time(), "it is no --peer any more"),
                    *(DeliveryState.WAITING, *peers),
                ),
            )

    def waiting(self, peer: str) -> list[Delivery]:
        """All that waits for a peer, due or not."""
        return self._deliveries("where state = ? and peer = ?", DeliveryState.WAITING, peer)

    def latest(self, limit: int) -> list[Delivery]:
        """What was put in last, newest first; what is not sent comes before the rest."""
        order = "order by state = ?, number desc limit ?"
        return self._deliveries(order, DeliveryState.SENT, limit)

    def unaudited(self) -> list[Delivery]:
        """Settled deliveries without a line in the audit log."""
        return self._deliveries("where settled is not null and not audited order by settled")

    def audited(self, deliveries: Sequence[Delivery]) -> None:
        """Note that deliveries have their lines."""
        with self._change() as rows:
            rows.executemany(
                "update outbox set audited = 1 where number = ?",
                [(one.number,) for one in deliveries],
            )

    def _deliveries(self, which: str, *values: object) -> list[Delivery]:
        rows = self._read(f"select {_FIELDS} from outbox {which}", *values)
        return [Delivery(*_typed(row)) for row in rows]


def _typed(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*row[:5], DeliveryState(row[5]), *row[6:])


_PUT = """
insert into outbox (job, kind, peer, key, state, since, due)
values (?, ?, ?, ?, 'waiting', ?, ?)
on conflict (job, kind, peer) do update set
    state = 'waiting', attempts = 0, since = excluded.since, due = excluded.due, settled = null,
    error = null, audited = 0
"""


def pause_s(attempts: int) -> float:
    """The pause after an attempt that failed, by how many failed before.

    >>> pause_s(0), pause_s(1), pause_s(50)
    (15.0, 30.0, 600.0)
    """
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempts, 20))
