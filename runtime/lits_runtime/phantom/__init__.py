"""A synthetic CT of the abdomen with labels."""

from lits_runtime.phantom.ct import make_phantom, write_phantom

__all__ = ["make_phantom", "write_phantom"]
