"""python -m lits_runtime: lits-infer."""

from lits_runtime.cli.entry_points import infer

if __name__ == "__main__":
    infer()
