"""The commands of the runtime: lits-infer and lits-doctor."""
