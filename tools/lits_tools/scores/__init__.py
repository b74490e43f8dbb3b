"""Scores of masks against references, per case and pooled."""
