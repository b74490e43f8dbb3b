"""Scores at full resolution, and the settings of inference that they choose."""
