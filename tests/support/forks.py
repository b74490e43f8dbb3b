"""Runs of lits_runtime in forks of a process that has imported it: soon begun, and soon killed.

A run may end, or stop, by a signal to itself right before the n-th of the calls that change or sync
files, so that every moment of the protocol is tried and not those that chance hits.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

CALLS = ("open", "replace", "rename", "fsync", "unlink", "mkdir")


class Forks:
    """The process that forks; each run is known by its process ID."""

    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        environment |= {"OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=30)

    def start(self, arguments: list[object], *, at: int = -1, by: int = 0) -> int:
        """Begin lits-infer with arguments; let it send itself `by` before its call number `at`."""
        return self._ask({"arguments": list(map(str, arguments)), "at": at, "by": int(by)})

    def wait(self, run: int) -> int:
        """Exit status, or the negative number of the signal that ended it."""
        return self._ask({"wait": run})

    def wait_until_stopped(self, run: int) -> int | None:
        """None when it has stopped, and its exit status if it ends without."""
        status = self._ask({"wait": run, "stopped": True})
        return None if status == STOPPED else status

    def _ask(self, order: dict[str, Any]) -> int:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


STOPPED = 1000


def _serve() -> None:

    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], os.WUNTRACED if "stopped" in order else 0)
            code = STOPPED if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)
            print(code, flush=True)
            continue
        run = os.fork()
        if run == 0:
            _run(order)
        print(run, flush=True)


def _run(order: dict[str, Any]) -> None:
    from lits_runtime.cli.infer import main

    output = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(output, descriptor)
    if order["by"]:
        _signal_at(order["at"], order["by"])
    code: Any = 99
    try:
        main(order["arguments"])
    except SystemExit as end:
        code = end.code or 0
    finally:
        os._exit(code)


def _signal_at(at: int, number: int) -> None:
    left = at

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), number)
            left -= 1
            return function(*arguments, **named)

        return call

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))


def everything(folder: Path) -> dict[str, bytes]:
    """Name and content of all files of a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def end(run: int, number: int) -> None:
    """Send a signal to a run that may have ended."""
    try:
        os.kill(run, number)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _serve()
