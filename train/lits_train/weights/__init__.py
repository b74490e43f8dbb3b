"""Weights from untrusted files, read without running code."""
