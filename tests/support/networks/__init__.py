"""Checkpoints, their exports, and models of a kilobyte."""
