"""Scratch: a limit that is kept, and nothing left behind."""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from lits_runtime import StoreError
from lits_runtime.stores.scratch import Scratch


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_waits_for_room(place: Path) -> None:
    scratch = Scratch(10)
    first = scratch.folder(7, "a")
    opened = []
    waiting = threading.Thread(target=lambda: opened.append(scratch.folder(4, "b")))
    waiting.start()
    waiting.join(0.2)
    assert not opened
    first.close()
    waiting.join(10)
    assert len(opened) == 1
    opened[0].close()
    assert [*place.iterdir()] == []
    with pytest.raises(StoreError, match=r"limit of local scratch is 0\.0 GB; see --scratch-gb"):
        scratch.folder(11, "c")


def test_what_a_killed_process_left_is_removed(place: Path) -> None:
    code = (
        "import os, signal; from lits_runtime.stores.scratch import Scratch; "
        "Scratch(9).folder(1, 'a'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = os.environ | {"TMPDIR": str(place), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environment, timeout=60)
    mine = Scratch(9).folder(1, "b")
    assert [*place.iterdir()] == [mine.path]
    Scratch(9)
    assert mine.path.exists()
    mine.close()
