"""Data sets in the layouts of others, imported as LiTS-style pairs."""
