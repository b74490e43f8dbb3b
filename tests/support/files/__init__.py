"""Scans, cases and folders made for tests."""
