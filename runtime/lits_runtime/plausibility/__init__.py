"""Plausibility of grid, values and result: warnings if they do not look like CT of the abdomen."""
