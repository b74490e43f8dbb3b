"""The entry points of this package's commands."""

from lits_runtime.system.launch import launch


def data() -> None:
    """lits-data."""
    launch("lits_train.cli.data", "lits-data")


def train() -> None:
    """lits-train."""
    launch("lits_train.cli.train", "lits-train")
