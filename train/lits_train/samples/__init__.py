"""Samples: which slices are shown, in which order, and how they are varied."""
