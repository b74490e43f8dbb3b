"""Scans in, masks out: the only room that knows image formats.

A new format is a module or folder here that implements the protocols of `source`, its endings in
`names`, and a branch in `open`; it goes from the list in `foreign_formats`.
"""
