"""Prepared data: slices at working size in arrays, under one index."""
