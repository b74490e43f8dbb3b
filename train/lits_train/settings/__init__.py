"""Recipes, their overrides, and the settings of a run."""
