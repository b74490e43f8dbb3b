"""Time and memory of whole processes, run in turn so that a drift in speed affects all alike."""

import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """One process from start to exit."""

    seconds: float
    peak_mb: float
    """Largest resident set; 1 MB is 10**6 bytes. NaN where the system does not report it."""
    output: str


def run(command: Sequence[str]) -> Run:
    """Run a Python command line to its end.

    Args:
        command: arguments of this interpreter.

    Raises:
        RuntimeError: the process failed; the message ends with its output.
    """
    with tempfile.TemporaryFile("w+") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *command], stdout=output, stderr=subprocess.STDOUT
        )
        peak_mb = _wait(process)
        seconds = time.perf_counter() - began
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {text[-500:]}")
    return Run(seconds, peak_mb, text)


def _wait(process: subprocess.Popen[bytes]) -> float:
    """Wait for the end; return the largest resident set in MB, NaN if it is not reported."""
    if not hasattr(os, "wait4"):  # Windows
        process.wait()
        return math.nan
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return float(usage.ru_maxrss) * (1 if sys.platform == "darwin" else 1024) / 1e6


def in_turn(commands: Mapping[str, Sequence[str]], runs: int) -> dict[str, list[Run]]:
    """Run several commands in turn, A A B B A A B B ..., and keep the second run of each pair.

    The first runs on the machine as the other command left it: after the baseline, the host of a
    virtual machine took 0.2 s of processor time (steal in /proc/stat) from the next process, and
    nothing from the one after that.
    """
    results: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            run(command)
            results[name].append(run(command))
    return results


def median_seconds(runs: Sequence[Run]) -> float:
    """The median of the wall times, seconds."""
    return statistics.median(run.seconds for run in runs)


def median_ratio(above: Sequence[Run], below: Sequence[Run]) -> float:
    """The median of the ratios of wall times within a turn."""
    pairs = zip(above, below, strict=True)
    return statistics.median(one.seconds / other.seconds for one, other in pairs)
