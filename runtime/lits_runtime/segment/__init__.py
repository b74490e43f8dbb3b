"""One scan: slabs through a model, clean-up, and labels in memory or in files."""
