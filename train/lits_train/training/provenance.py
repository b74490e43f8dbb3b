"""The provenance of a checkpoint: data, split, seed and software."""

import subprocess
from pathlib import Path
from typing import Any

import torch

from lits_runtime.system.versions import version
from lits_train.data.cases import fingerprint
from lits_train.run.run_data import RunData
from lits_train.settings.run import RunSettings


def provenance(data: RunData, run: RunSettings) -> dict[str, Any]:
    """Facts to save in the checkpoints of a run."""
    return {
        "data_fingerprint": fingerprint(data.usable),
        "cases": [case.case_id for case in data.training.cases],
        "validation_cases": [case.case_id for case in data.validation.cases],
        "starting_weights": run.weights,
        "seed": run.seed,
        "lits_toolkit": version("lits-toolkit") or "unknown",
        "torch": str(torch.__version__),
        "git_revision": _git_revision(),
    }


def _git_revision() -> str:
    """Of the checkout that this code runs from; "unknown" if it is installed."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        tracked = ["git", "-C", str(folder), "ls-files", "--error-unmatch", Path(__file__).name]
        subprocess.run(tracked, check=True, capture_output=True, timeout=10)
        found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()
