"""The layers of setup.cfg hold, and import-linter sees each kind of import that breaks them."""

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import OURS, ROOT

LINT = "import importlinter.cli as cli, sys; sys.exit(cli.lint_imports(no_cache=True))"
HIDDEN = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "
IN_A_FUNCTION = "def late() -> None:\n    "
BREACHES = {
    "a room above": (
        {"lits_runtime/volumes/scan.py": "import lits_runtime.segment.segmenter\n"},
        "rooms of lits_runtime",
    ),
    "a neighbour": (
        {"lits_runtime/measure/lesions.py": "import lits_runtime.phantom.ct\n"},
        "rooms of lits_runtime",
    ),
    "a package above, for type checkers alone": (
        {"lits_train/samples/dataset.py": f"{HIDDEN}import lits_export.export\n"},
        "tools > export > train > runtime",
    ),
    "a room above, in a function": (
        {"lits_export/parity/compare.py": f"{IN_A_FUNCTION}import lits_export.export\n"},
        "rooms of lits_export",
    ),
    "a circle of files": (
        {
            "lits_tools/scores/one.py": "import lits_tools.scores.other\n",
            "lits_tools/scores/other.py": f"{HIDDEN}import lits_tools.scores.one\n",
        },
        "no circle of files or rooms",
    ),
    "nibabel in another room": (
        {"lits_runtime/segment/outputs.py": "import nibabel\n"},
        "nibabel is imported in volumes, and by the baseline of the benchmarks",
    ),
    "pydicom in another room": (
        {"lits_runtime/finding/find.py": f"{IN_A_FUNCTION}import pydicom\n"},
        "pydicom and highdicom are imported for DICOM in volumes, and by its benchmark",
    ),
    "torch in the runtime": (
        {"lits_runtime/session/engine.py": f"{IN_A_FUNCTION}import torch\n"},
        "the runtime needs neither torch nor onnx nor matplotlib",
    ),
    "a room that no layer names": (
        {"lits_train/cellar/__init__.py": '"""A new room."""\n'},
        "rooms of lits_train",
    ),
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of setup.cfg and the packages."""
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    for name, folder in OURS.items():
        ignored = shutil.ignore_patterns("__pycache__", "*.onnx")
        shutil.copytree(folder, tmp_path / name, ignore=ignored)
    return tmp_path


def broken_contracts(folder: Path, packages: str) -> set[str]:
    """What import-linter calls broken, with the packages in `packages`."""
    done = subprocess.run(
        [sys.executable, "-c", LINT],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": packages, "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    verdicts = dict(re.findall(r"^(.+) (KEPT|BROKEN)(?: \(.*\))?$", done.stdout, re.MULTILINE))
    assert verdicts, done.stdout + done.stderr
    broken = {name for name, verdict in verdicts.items() if verdict == "BROKEN"}
    assert done.returncode == (1 if broken else 0), done.stdout
    return broken


def test_the_layers_hold() -> None:
    packages = os.pathsep.join(str(folder.parent) for folder in OURS.values())
    assert broken_contracts(ROOT, packages) == set()


@pytest.mark.parametrize("breach", BREACHES)
def test_a_forbidden_import_is_found(breach: str, tree: Path) -> None:
    added, contract = BREACHES[breach]
    for name, text in added.items():
        file = tree / name
        file.parent.mkdir(exist_ok=True)
        file.write_text((file.read_text() if file.exists() else '"""New."""\n') + text)
    assert contract in broken_contracts(tree, str(tree))


def test_every_package_has_a_contract_that_names_all_its_rooms() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    contracts = [setup[name] for name in setup.sections() if name.startswith("importlinter:")]
    layers = [contract for contract in contracts if contract["type"] == "layers"]
    exhaustive = {
        contract["containers"] for contract in layers if contract.get("exhaustive") == "True"
    }
    assert exhaustive == set(OURS)
    for contract in layers:
        assert contract.get("exhaustive_ignores", "").split() in ([], ["__main__"])
    assert set(setup["importlinter"]["root_packages"].split()) == set(OURS)
