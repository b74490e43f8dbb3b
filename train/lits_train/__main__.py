"""lits-train as python -m lits_train, for torchrun."""

from lits_train.cli.entry_points import train

if __name__ == "__main__":
    train()
