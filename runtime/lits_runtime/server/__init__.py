"""lits-serve: scans come in over HTTP, wait in a queue on disk, and are segmented one by one."""
