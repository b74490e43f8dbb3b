"""Finding scans in folders, and saying why other files are none."""
