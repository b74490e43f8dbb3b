"""A worker process seen from the server: started, told what to do, ended."""

import multiprocessing
from multiprocessing.connection import Connection, wait
from typing import Any

from lits_runtime.server.settings import Settings

_END_S = 5.0


class WorkerProcess:
    """One worker process and the connection to it."""

    def __init__(self, settings: Settings, device_id: int) -> None:
        context = multiprocessing.get_context("spawn")  # ONNX Runtime does not survive a fork
        self.connection: Connection[Any, Any]
        self.connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_run, args=(theirs, settings, device_id), daemon=True
        )
        self._process.start()
        theirs.close()  # so that the connection ends with the process

    def receive(self, timeout_s: float, *others: Any) -> Any:
        """The next message, or None if none comes in time or one of `others` is ready first.

        Raises:
            EOFError, OSError: the process is gone.
        """
        ready = wait([self.connection, *others], timeout_s)
        return self.connection.recv() if self.connection in ready else None

    def end(self) -> str:
        """Kill the process, if it still lives, and say how it ended."""
        self.connection.close()
        self._process.join(_END_S)  # it ends by itself when it finds the connection closed
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        return self._how_it_ended()

    def kill(self) -> str:
        """Kill the process at once, and say how it ended."""
        self._process.kill()
        self._process.join(_END_S)
        self.connection.close()
        return self._how_it_ended()

    def _how_it_ended(self) -> str:
        code = self._process.exitcode
        if code is not None and code < 0:
            return f"killed by signal {-code}"
        return f"exit status {code}"


def _run(connection: "Connection[Any, Any]", settings: Settings, device_id: int) -> None:
    """Start in the new process, the only one that imports NumPy and ONNX Runtime."""
    from lits_runtime.volumes.nifti.load_nibabel import load_nibabel

    load_nibabel()
    from lits_runtime.server.queue.worker import run_worker

    run_worker(connection, settings, device_id)
