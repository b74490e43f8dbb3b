"""Slabs of a scan through a model: which slices it sees, and what becomes of the others."""
