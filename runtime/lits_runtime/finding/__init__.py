"""Which files of a folder are scans, and why the others are not."""
