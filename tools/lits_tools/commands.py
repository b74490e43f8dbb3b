"""The entry points of this package's commands."""

from lits_runtime.system.launch import launch


def evaluate() -> None:
    """lits-eval."""
    launch("lits_tools.eval_cli", "lits-eval")


def view() -> None:
    """lits-view."""
    launch("lits_tools.view_cli", "lits-view")
