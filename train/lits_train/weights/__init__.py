"""Weights from files of others, read without running code in them."""
