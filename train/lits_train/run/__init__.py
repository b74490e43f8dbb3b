"""One training run: its start, data, processes, learning rate and saved state."""
