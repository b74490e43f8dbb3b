"""The entry points of this package's commands."""

from lits_runtime.launch import launch


def infer() -> None:
    """lits-infer."""
    launch("lits_runtime.cli", "lits-infer")


def doctor() -> None:
    """lits-doctor."""
    launch("lits_runtime.doctor_cli", "lits-doctor")
