"""Recipes, what changes them, and the settings of a run."""
