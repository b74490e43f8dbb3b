"""Scans in, masks out: the only room that knows image formats. A new one starts at `source`."""
