"""The entry points of this package's commands."""

from lits_runtime.system.launch import launch


def infer() -> None:
    """lits-infer."""
    launch("lits_runtime.cli.infer", "lits-infer")


def doctor() -> None:
    """lits-doctor."""
    launch("lits_runtime.cli.doctor", "lits-doctor")


def serve() -> None:
    """lits-serve."""
    launch("lits_runtime.cli.serve", "lits-serve")
