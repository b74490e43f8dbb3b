"""One training run: readiness, start, data, processes, learning rate, progress and state."""
