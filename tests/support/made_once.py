"""What tests take long to make, made once in a session, whichever of its processes needs it first.

As pytest-xdist's documentation has it: https://pytest-xdist.readthedocs.io/en/stable/how-to.html
"""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from filelock import FileLock

T = TypeVar("T")


def session_folder(factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of the session have in common."""
    own = factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "session"
    folder.mkdir(exist_ok=True)
    return folder


def made_once(folder: Path, make: Callable[[Path], T]) -> T:
    """What `make` gave, in this process or another, when it filled the folder."""
    result = folder.with_suffix(".pickle")
    with FileLock(folder.with_suffix(".lock")):
        if not result.exists():
            folder.mkdir(parents=True)
            result.write_bytes(pickle.dumps(make(folder)))
    made: T = pickle.loads(result.read_bytes())
    return made
