"""The entry point of this package's command."""

from lits_runtime.system.launch import launch


def export() -> None:
    """lits-export."""
    launch("lits_export.cli.export", "lits-export")
