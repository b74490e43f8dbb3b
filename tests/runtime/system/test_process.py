"""Settings of the process that a command makes for itself."""

import subprocess
import sys

PROGRAM = """
import atexit, gc
from lits_runtime.system.process import return_freed_memory, skip_last_collection

atexit.register(lambda: print(gc.get_freeze_count() > 0))
for _ in range(2):
    skip_last_collection()
    return_freed_memory()
"""


def test_a_process_ends_with_all_objects_frozen() -> None:
    child = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert child.stdout == "True\n"
    assert not child.stderr
