"""The commands of training: lits-train and lits-data."""
