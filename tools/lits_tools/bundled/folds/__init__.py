"""`python -m lits_tools.bundled.folds`: cross-validation by patient, on the folds of trial.toml."""
