"""Laboratory, not in the wheel: the trainings behind the bundled model and behind the recipe."""
