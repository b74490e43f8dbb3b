"""Figures from labels: lesions, diameters, volumes and the report of one scan."""
