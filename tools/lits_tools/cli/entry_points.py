"""The entry points of this package's commands."""

from lits_runtime.system.launch import launch


def archive() -> None:
    """lits-archive."""
    launch("lits_tools.cli.archive", "lits-archive")


def evaluate() -> None:
    """lits-eval."""
    launch("lits_tools.cli.eval", "lits-eval")


def view() -> None:
    """lits-view."""
    launch("lits_tools.cli.view", "lits-view")
