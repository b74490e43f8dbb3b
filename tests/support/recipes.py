"""The recipes of docs/archive.md, and a lits-infer in the PATH for them."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from support.paths import ROOT

_BLOCK = re.compile(r"^```\w+\n((?:#![^\n]*\n)?(?:#|//) (\S+)\n.*?)^```$", re.DOTALL | re.MULTILINE)


def recipe(name: str) -> str:
    """The block of the page that begins with a comment of this name."""
    page = (ROOT / "docs/archive.md").read_text("utf-8")
    found: dict[str, str] = {title: text for text, title in _BLOCK.findall(page)}
    return found[name]


def with_lits_infer(folder: Path, model: Path) -> Mapping[str, str]:
    """An environment in which lits-infer is that of this source, with a model of the test's."""
    folder.mkdir(parents=True, exist_ok=True)
    command = folder / "lits-infer"
    path = os.pathsep.join(filter(None, sys.path))
    line = f"PYTHONPATH='{path}' exec '{sys.executable}' -m lits_runtime -m '{model}' \"$@\""
    command.write_text(f"#!/bin/sh\n{line}\n")
    command.chmod(0o755)
    return os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
