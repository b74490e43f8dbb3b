"""Slices drawn with masks: panels, sheets, and a page to scroll through."""
