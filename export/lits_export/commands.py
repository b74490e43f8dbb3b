"""The entry point of this package's command."""

from lits_runtime.launch import launch


def export() -> None:
    """lits-export."""
    launch("lits_export.cli", "lits-export")
