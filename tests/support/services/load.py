"""Clients that send scans to a lits-serve that is killed under them."""

import os
import random
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import requests

from support.services.served import Server

RETRY_S = 1.0
LONGEST_S = 0.5
"""After which the next kill comes, once its jobs were accepted."""


class Clients:
    """Threads that send scans until so many jobs were accepted; each tries again when refused.

    Args:
        server: whose address may change when it starts again.
        scans: sent in turn.
        jobs: to be accepted in all.
        count: of clients.
    """

    def __init__(self, server: Server, scans: Sequence[Path], jobs: int, count: int) -> None:
        self.server, self.jobs = server, jobs
        self._scans, self._waiting = scans, list(range(jobs))
        self._lock = threading.Lock()
        self.accepted: dict[str, int] = {}
        """By id of the job, the index of its scan."""
        self.unanswered = 0
        """Requests on which the server was killed: it may have accepted them or not."""
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def wait_for(self, count: int) -> None:
        """Wait until so many jobs were accepted."""
        while len(self.accepted) < count:
            time.sleep(0.02)

    def join(self) -> None:
        """Wait until all jobs were accepted."""
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    return
                number = self._waiting.pop()
            index = number % len(self._scans)
            while (job_id := self._tried(self._scans[index])) is None:
                time.sleep(RETRY_S)
            with self._lock:
                self.accepted[job_id] = index

    def _tried(self, scan: Path) -> str | None:
        try:
            with scan.open("rb") as file:
                answer = requests.post(
                    f"{self.server.url}/api/jobs", files={"scan": file}, timeout=60
                )
        except requests.RequestException:
            with self._lock:
                self.unanswered += 1
            return None
        assert answer.status_code in (202, 503), answer.text
        return str(answer.json()["id"]) if answer.status_code == 202 else None


def kill_at_random(clients: Clients, kills: int, chance: random.Random) -> None:
    """Kill workers and servers in turn, and start the latter again, while jobs come in.

    The kills are spread over the jobs, so that a slow machine gets through them all the same.
    """
    for kill in range(kills):
        clients.wait_for(clients.jobs * (kill + 1) // (kills + 1))
        time.sleep(chance.uniform(0, LONGEST_S))
        if kill % 2:
            for pid in clients.server.worker_pids():
                os.kill(pid, signal.SIGKILL)
        else:
            clients.server.end(signal.SIGKILL)
            clients.server.start()


def resident_mb(pid: int) -> float:
    """Memory of a process at present."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
