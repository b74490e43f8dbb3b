"""The commands of the tools: lits-eval and lits-view."""
