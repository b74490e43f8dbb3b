"""Scans in, masks out: the only room that knows file formats."""
