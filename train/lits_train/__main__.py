"""python -m lits_train, which torchrun takes: lits-train."""

from lits_train.cli.entry_points import train

if __name__ == "__main__":
    train()
