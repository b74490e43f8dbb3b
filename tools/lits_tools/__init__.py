"""Evaluate, draw and benchmark segmentations."""
