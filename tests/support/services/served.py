"""A real lits-serve on loopback, and what its clients send."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import requests

COMMAND = "from lits_runtime.cli.entry_points import serve; serve()"
PATIENCE_S = 180.0
"""On a machine that is busy with other tests."""


class Server:
    """A server process; `start` and `end` may follow each other on the same state folder."""

    def __init__(self, state: Path, *arguments: object) -> None:
        self.state = state
        self._arguments = ["--state", str(state), *map(str, arguments)]
        self._process: subprocess.Popen[str] | None = None
        self.url = ""
        self.http = requests.Session()
        self.log = state.with_name(f"{state.name}.log")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self.http.close()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, "--port", "0", *self._arguments],
                stderr=log,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                text=True,
            )
        end = time.monotonic() + PATIENCE_S
        while not (found := re.search(r"serving on (\S+)", self.log.read_text()[before:])):
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)
        self.url = found[1]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for the exit status."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(PATIENCE_S)

    @property
    def pid(self) -> int:
        """Process ID."""
        assert self._process is not None
        return self._process.pid

    def worker_pids(self) -> list[int]:
        """Process IDs of its workers."""
        return [
            pid
            for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
            if _parent(pid) == self.pid and b"spawn_main" in _command(pid)
        ]

    def memory_mb(self) -> float:
        """Resident memory of the server process, the largest so far."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", text)
        assert found is not None
        return int(found[1]) / 1024

    def send(self, scan: Path, **options: Any) -> requests.Response:
        """POST a scan."""
        fields = {"options": json.dumps(options)} if options else None
        with scan.open("rb") as file:
            return self.http.post(f"{self.url}/api/jobs", files={"scan": file}, data=fields)

    def accepted(self, scan: Path, **options: Any) -> str:
        """POST a scan that is accepted; its id."""
        answer = self.send(scan, **options)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """GET a job."""
        answer = self.http.get(f"{self.url}/api/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    def wait_for(self, job_id: str, *states: str) -> dict[str, Any]:
        """Wait until a job is in one of the states."""
        end = time.monotonic() + PATIENCE_S
        while (job := self.job(job_id))["state"] not in states:
            assert time.monotonic() < end, (job, self.log.read_text())
            time.sleep(0.02)
        return job

    def audit(self) -> list[dict[str, Any]]:
        """The lines of the audit log."""
        return [json.loads(line) for line in (self.state / "audit.log").read_text().splitlines()]

    def files(self) -> set[str]:
        """All files of the state folder but those of the database and the lock."""
        found = (path.relative_to(self.state) for path in self.state.rglob("*") if path.is_file())
        return {str(path) for path in found if path.parent != Path()}


def _parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def events(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """The jobs in a stream of server-sent events."""
    return [json.loads(line[6:]) for line in lines if line.startswith(b"data: ")]
