"""Which software made a file."""

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def software_versions() -> dict[str, str]:
    """Versions of lits-toolkit and torch, and the git revision when run from a checkout."""
    import torch

    return {
        "lits_toolkit": _version("lits-toolkit"),
        "torch": str(torch.__version__),
        "git_revision": _git_revision(),
    }


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"


def _git_revision() -> str:
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        tracked = ["git", "-C", str(folder), "ls-files", "--error-unmatch", Path(__file__).name]
        subprocess.run(tracked, check=True, capture_output=True, timeout=10)
        found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()
